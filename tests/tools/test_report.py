"""What the pipeline prints at its end."""

from pathlib import Path

from tools.report import demonstration_note, metrics_table


def test_the_table_has_a_row_per_structure_and_metric() -> None:
    summary = {"left_atrium": {"dice": {"mean": 0.9, "n": 16}, "hd95_mm": {"mean": 4.25, "n": 15, "n_missed": 1}}}
    rows = [line.split() for line in metrics_table({"summary": summary}).splitlines()]
    assert rows[1] == ["left_atrium", "dice", "0.900", "-", "-", "-", "-", "16", "-"]
    assert rows[2] == ["left_atrium", "hd95_mm", "4.250", "-", "-", "-", "-", "15", "1"]


def test_weights_from_phantoms_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"demonstration_only": true}')
    assert "demonstration only" in demonstration_note(tmp_path)


def test_weights_from_patients_need_no_note(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"demonstration_only": false}')
    assert demonstration_note(tmp_path) == ""
