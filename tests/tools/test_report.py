"""What the pipeline prints at its end."""

from pathlib import Path

from tools.report import demonstration_note, metrics_table


def test_the_table_has_a_row_per_structure_and_metric() -> None:
    summary = {"left_atrium": {"dice": {"mean": 0.9, "n": 16}, "hd95_mm": {"mean": 4.25, "n": 15, "n_missed": 1}}}
    rows = [line.split() for line in metrics_table({"summary": summary}).splitlines()]
    assert rows[1] == ["left_atrium", "dice", "0.900", "-", "-", "-", "-", "16", "-"]
    assert rows[2] == ["left_atrium", "hd95_mm", "4.250", "-", "-", "-", "-", "15", "1"]


def rows(**trained_on: bool) -> list[dict]:
    """A row of each case, which tells whether the weights were trained on it."""
    return [{"case": case, "trained_on": seen} for case, seen in trained_on.items()]


def summary(mean: float) -> dict:
    return {"left_atrium": {"dice": {"mean": mean, "n": 1}}}


def test_cases_of_the_training_have_a_table_of_their_own() -> None:
    metrics = {"summary": summary(0.8), "summary_trained_on": summary(0.9), "cases": rows(a=False, b=True, c=False)}
    lines = metrics_table(metrics).splitlines()
    assert lines[0] == "2 of 3 cases, which the weights were not trained on"
    assert lines[2].split()[:3] == ["left_atrium", "dice", "0.800"]
    assert lines[4] == "1 of 3 cases, which the weights were trained on: this flatters them"
    assert lines[6].split()[:3] == ["left_atrium", "dice", "0.900"]


def test_where_the_weights_were_trained_on_all_cases_it_is_said_in_place_of_a_table() -> None:
    lines = metrics_table({"summary": {}, "summary_trained_on": summary(0.9), "cases": rows(a=True, b=True)}).split(
        "\n"
    )
    assert lines[0].startswith("The weights were trained on all 2 cases: nothing here says how good they are on others")
    assert [line.split()[0] for line in lines if line][2:] == ["structure", "left_atrium"]


def test_weights_from_phantoms_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"demonstration_only": true}')
    assert "demonstration only" in demonstration_note(tmp_path)


def test_weights_from_patients_need_no_note(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"demonstration_only": false}')
    assert demonstration_note(tmp_path) == ""
