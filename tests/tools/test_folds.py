"""What `make train FOLDS=` runs, skips, resumes and says; nothing is trained."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.test_pooling import row
from tools import folds, pipeline
from tools.stages import Outcome

COUNT = 3


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The commands that were run by the name of their stage; each leaves what a training or an evaluation leaves."""
    commands: dict[str, list[str]] = {}

    def value(command: list[str], name: str) -> str:
        return next(word.partition("=")[2] for word in command if word.startswith(f"--{name}="))

    def count(command: list[str], **_: object) -> int:
        Path(value(command, "answer")).write_text(json.dumps({"folds": COUNT}))
        return 0

    def run(planned: dict[str, list[str]], **_: object) -> Outcome:
        for name, command in planned.items():
            commands[name] = command
            if name.endswith("/train"):
                models = Path(value(command, "ckpt_dir"))
                models.mkdir(parents=True, exist_ok=True)
                for file in ("model.pt", "model_epoch=1.pt"):
                    (models / file).touch()
            if name.endswith("/evaluation"):
                folder = Path(value(command, "output_dir"))
                folder.mkdir(parents=True, exist_ok=True)
                report = {"tolerance_mm": 1.0, "cases": [row(f"case of {name}", 0.5, 1.0)]}
                (folder / "metrics.json").write_text(json.dumps(report))
        return Outcome(dict.fromkeys(planned, 0.0))

    monkeypatch.setattr(folds, "run_one", count)
    monkeypatch.setattr(folds, "run_all", run)
    return commands


@pytest.fixture
def train(tmp_path: Path, ran: dict[str, list[str]]) -> Callable[..., list[str]]:
    """``train("all")``: the names of the stages that a command ran."""
    (tmp_path / "data").mkdir()

    def command(wanted: object, *, code: int = 0, bundle: str = "vnet_left_atrium", **options: object) -> list[str]:
        ran.clear()
        with pytest.raises(SystemExit) as ended:
            pipeline.train(bundle, str(tmp_path / "data"), run=str(tmp_path / "run"), cross_validate=wanted, **options)
        assert ended.value.code == code
        return list(ran)

    return command


STAGES = ["train_locator", "train", "evaluation"]


def stages(*numbers: int) -> list[str]:
    return [*(f"fold_{k}/{stage}" for k in numbers for stage in STAGES), "predictions"]


def test_all_folds_are_trained_with_their_first_stages_and_evaluated_then_predict_together(train, ran) -> None:
    assert train("all") == stages(0, 1, 2)
    assert [word for word in ran["fold_2/train_locator"] if "fold=" in word] == ["--fold=2"]


def test_a_fold_has_folders_of_its_own_and_shares_the_cache(train, ran, tmp_path: Path) -> None:
    train("1")
    run = tmp_path / "run"
    for stage in STAGES:
        command = ran[f"fold_1/{stage}"]
        assert f"--ckpt_dir={run}/fold_1/models" in command and f"--output_dir={run}/fold_1/{stage}" in command
        assert f"--cache_dir={run}/cache" in command


def test_the_ensemble_is_that_of_all_folds(train, ran, tmp_path: Path) -> None:
    train("all")
    models = ", ".join(f'"{tmp_path}/run/fold_{k}/models"' for k in range(3))
    assert f"--ckpt_dir=$[{models}]" in ran["predictions"]
    assert "--config_file=['configs/inference.json', 'configs/ensemble.json']" in ran["predictions"]


def test_finished_folds_are_skipped_and_still_count(train, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert train("0,2") == stages(0, 2)
    assert train("all") == stages(1)
    assert "3 cases of all 3 folds" in capsys.readouterr().out
    pooled = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())
    assert [case["fold"] for case in pooled["cases"]] == [0, 1, 2]


def test_some_folds_are_named_in_the_table(train, capsys: pytest.CaptureFixture) -> None:
    train("0,2")
    assert "2 cases of folds 0, 2 of 3" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["models/model.pt", "evaluation/metrics.json", "finished.json"])
def test_a_fold_that_lacks_its_model_or_evaluation_is_gone_on_with(train, ran, tmp_path: Path, lost: str) -> None:
    train("all")
    (tmp_path / "run/fold_1" / lost).unlink()
    assert train("all") == stages(1)
    assert "--resume=True" in ran["fold_1/train"]


def test_a_new_fold_is_not_resumed(train, ran) -> None:
    train("all")
    assert "--resume=False" in ran["fold_0/train"]


def test_other_settings_go_on_with_every_fold(train, ran) -> None:
    train("all", epochs="1")
    assert train("all", epochs="2") == stages(0, 1, 2)
    assert "--resume=True" in ran["fold_0/train"] and "--epochs=2" in ran["fold_0/train"]


def test_settings_of_the_predictions_alone_do_not_touch_the_folds(train, ran) -> None:
    train("all")
    assert train("all", skip_existing="True") == ["predictions"]
    assert "--skip_existing=True" in ran["predictions"]


def test_a_training_that_fails_ends_the_command_which_says_how_it_goes_on(
    train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(folds, "run_all", lambda planned, **_: Outcome({"fold_0/train": 1.0}, 9, "it was killed"))
    train("all", code=9)
    assert "it was killed; the same command goes on from there" in capsys.readouterr().err
    assert not (tmp_path / "run/fold_1").exists()


def test_cases_that_fail_in_an_evaluation_end_nothing_but_the_exit_code(
    train, ran, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    works = folds.run_all

    def run(planned: dict[str, list[str]], **options: object) -> Outcome:
        done = works(planned, **options)
        return Outcome(done.seconds, 1, "one case failed") if "fold_1/train" in planned else done

    monkeypatch.setattr(folds, "run_all", run)
    assert train("all", code=1) == stages(0, 1, 2)
    assert len(json.loads((tmp_path / "run/evaluation/metrics.json").read_text())["cases"]) == 3


def test_the_split_of_fold_0_is_that_of_all(train, tmp_path: Path) -> None:
    (tmp_path / "run/fold_0/models").mkdir(parents=True)
    (tmp_path / "run/fold_0/models/split.json").write_text('{"folds": []}')
    train("1", bundle="unet_liver_tumor")
    assert (tmp_path / "run/fold_1/models/split.json").read_text() == '{"folds": []}'


@pytest.mark.parametrize("wanted", ["3", "0,3", "some", ",", "-1", "0;1"])
def test_folds_that_there_are_not_are_answered_with_those_there_are(wanted: str) -> None:
    with pytest.raises(SystemExit, match="expected all, or some of 0 to 2 such as 0,1"):
        folds.chosen_folds(wanted, 3)


@pytest.mark.parametrize(("wanted", "chosen"), [("all", [0, 1, 2]), ("2,0", [0, 2]), ("1", [1]), ((0, 1), [0, 1])])
def test_folds_are_chosen_by_their_numbers(wanted: object, chosen: list[int]) -> None:
    assert folds.chosen_folds(wanted, 3) == chosen


@pytest.mark.parametrize("knob", ["fold", "resume", "ckpt_dir", "output_dir"])
def test_what_each_fold_has_for_itself_cannot_be_set(train, knob: str) -> None:
    train(
        "all",
        code=f"--{knob}: with FOLDS= each fold has its own, and what was interrupted is resumed; leave it out",
        **{knob: "1"},
    )


def test_a_run_without_folds_is_not_mixed_with_one(train, tmp_path: Path) -> None:
    (tmp_path / "run/models").mkdir(parents=True)
    (tmp_path / "run/models/model_epoch=1.pt").touch()
    train("all", code=f"{tmp_path}/run: holds a training without FOLDS= already. Start another: RUN=another_folder")


def test_a_run_with_folds_is_not_mixed_with_one_without(train, tmp_path: Path) -> None:
    train("all")
    with pytest.raises(SystemExit, match="holds a training with FOLDS= already"):
        pipeline.train("vnet_left_atrium", str(tmp_path / "data"), run=str(tmp_path / "run"))


def test_new_scans_are_predicted_with_the_ensemble_of_a_runs_folds(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("0,1")
    planned: dict[str, list[str]] = {}
    monkeypatch.setattr(pipeline, "run_all", lambda commands, **_: planned.update(commands) or Outcome({}))
    with pytest.raises(SystemExit):
        pipeline.infer("vnet_left_atrium", str(tmp_path / "data"), run=str(tmp_path / "run"))
    models = ", ".join(f'"{tmp_path}/run/fold_{k}/models"' for k in range(2))
    assert f"--ckpt_dir=$[{models}]" in planned["predictions"]
    assert any("ensemble.json" in word for word in planned["predictions"])


@pytest.mark.parametrize(("variable", "said"), [("all", "--cross_validate"), ("", None)])
def test_make_hands_over_what_folds_says(variable: str, said: str | None) -> None:
    command = ["make", "-n", "-o", ".venv/.ready", "train", "DATASET_DIR=/data", f"FOLDS={variable}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folds.ROOT)
    assert ("--cross_validate" in done.stdout) == (said is not None)


def test_a_time_is_shared_by_the_folds_of_which_the_first_is_timed(
    train, ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[float, bool]] = []

    def in_time(minutes: float, planned: dict, *, models: Path, resume: bool, **_: object) -> None:
        given.append((minutes, resume))
        (models / "plan.json").parent.mkdir(parents=True, exist_ok=True)
        (models / "plan.json").write_text(f'{{"epochs": {len(given)}}}')

    monkeypatch.setattr(folds, "in_time", in_time)
    assert train("1,2", minutes="30") == stages(1, 2)[:-1]  # without predictions
    assert given == [(15.0, False), (15.0, True)]


def test_folds_copy_the_plan_of_the_first_that_has_one(train, tmp_path: Path) -> None:
    first = tmp_path / "run/fold_1/models/plan.json"
    first.parent.mkdir(parents=True)
    first.write_text('{"epochs": 7}')
    train("2")
    assert (tmp_path / "run/fold_2/models/plan.json").read_text() == '{"epochs": 7}'
