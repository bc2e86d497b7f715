"""Epochs that fit a time: how many, who is timed, and where they are recorded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import time_budget
from tools.pipeline import BUNDLES, train
from tools.time_budget import fitting_epochs, in_time

FOUND = {
    "steps": 10,
    "step_s": 0.5,
    "epoch_s": 1.0,
    "cases": 4,
    "validation_s": 4.0,
    "interval": 2,
    "start_s": 5.0,
}
STAGES = {
    "train_coarse": ["python", "run", "training", "--config_file=a.json", "--resume=True", "--ckpt_dir=x"],
    "train": ["python", "run", "training", "--config_file=b.json", "--fold=1"],
    "evaluation": ["python", "run", "run", "--config_file=b.json"],
}


def test_what_fits_ends_in_time_and_one_epoch_more_does_not() -> None:
    seconds = 300.0
    epochs, _ = fitting_epochs(FOUND, seconds, evaluated=False)

    def takes(epochs: int) -> float:
        return 5 + epochs * (10 * 0.5 + 1) + (epochs / 2 + 1) * 4

    assert takes(epochs) <= seconds < 1.1 * takes(epochs + 1)
    assert fitting_epochs(FOUND, seconds, evaluated=True)[0] < epochs


def test_no_epoch_fits_no_time() -> None:
    assert fitting_epochs(FOUND, -3.0, evaluated=True)[0] == 0


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that time a training; each finds FOUND, and the plan that lies beside the weights, or a new one."""
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> int:
        ran.append(command)
        words = dict(word.split("=", 1) for word in command if "=" in word)
        file = Path(words["--ckpt_dir"]) / "plan.json"
        plan = json.loads(file.read_text()) if file.is_file() else {"epochs": 9}
        Path(words["--answer"]).write_text(json.dumps({"plan": plan, **FOUND}))
        return 0

    monkeypatch.setattr(time_budget, "run_one", run)
    return ran


@pytest.fixture
def prepare(tmp_path: Path, timed: list[list[str]]) -> Callable[..., dict[str, list[str]]]:
    """Prepares every stage in turn: the commands that are run."""

    def all_stages(minutes: float | None, *, resume: bool = False) -> dict[str, list[str]]:
        one = in_time(minutes, STAGES, models=tmp_path / "models", resume=resume, cwd=tmp_path, inherited=[])
        return {name: one(name, command) for name, command in STAGES.items()}

    return all_stages


def epochs_of(command: list[str]) -> int:
    return next(int(word.removeprefix("--epochs=")) for word in command if word.startswith("--epochs="))


def test_each_training_gets_its_epochs_and_the_plan_has_them(prepare, timed, tmp_path: Path) -> None:
    commands = prepare(10)
    plan = json.loads((tmp_path / "models/plan.json").read_text())
    assert (epochs_of(commands["train_coarse"]), epochs_of(commands["train"])) == (
        plan["first_stage_epochs"],
        plan["epochs"],
    )
    assert commands["evaluation"] == STAGES["evaluation"]
    assert plan["timing"]["epochs"]["minutes"] == 10 and "10 minutes on " in plan["reasons"]["epochs"]
    assert len(timed) == 2


def test_a_first_stage_has_a_quarter_of_the_time(prepare) -> None:
    commands = prepare(100)
    quarter = fitting_epochs(FOUND, 25 * 60, evaluated=False)[0]
    assert epochs_of(commands["train_coarse"]) == pytest.approx(quarter, abs=2)


def test_a_timing_has_the_trainings_settings_and_folders_of_its_own_that_are_gone(
    prepare, timed, tmp_path: Path
) -> None:
    prepare(10)
    for words, stage in zip(timed, ("train_coarse", "train"), strict=True):
        assert STAGES[stage][3] in words
        assert [word for word in words if word.startswith("--resume")] == ["--resume=False"]
        folders = [Path(word.split("=", 1)[1]) for word in words if word.startswith(("--ckpt_dir", "--output_dir"))]
        assert len(folders) == 2 and not any(folder.exists() for folder in folders)
    assert "--fold=1" in timed[1]


def test_without_minutes_nothing_is_timed(prepare, timed) -> None:
    assert prepare(None) == STAGES and timed == []


def test_a_training_that_goes_on_keeps_its_epochs(prepare, timed) -> None:
    before = prepare(10)
    timed.clear()
    assert prepare(50, resume=True) == before and timed == []
    assert epochs_of(prepare(50)["train"]) > epochs_of(before["train"])


def test_a_first_stage_that_is_not_needed_costs_nothing(prepare, monkeypatch: pytest.MonkeyPatch, timed) -> None:
    monkeypatch.setitem(globals(), "FOUND", {})
    assert prepare(10)["train_coarse"] == STAGES["train_coarse"]


def test_too_little_time_is_said_in_one_line(prepare) -> None:
    with pytest.raises(
        SystemExit, match=r"^--minutes 0.1: too little for an epoch of train_coarse \(10 .*; it needs about \d minutes$"
    ):
        prepare(0.1)


@pytest.mark.parametrize(
    ("minutes", "given", "message"),
    [
        ("0", {}, "--minutes 0: expected a number above 0"),
        ("soon", {}, "--minutes soon: expected a number above 0"),
        ("15", {"epochs": "3"}, "--minutes and --epochs: the one follows from the other"),
        ("15", {"gpus": "2"}, "--minutes with GPUS=2"),
    ],
)
def test_minutes_that_mean_nothing_are_refused(minutes: str, given: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        train("unet_liver_tumor", str(tmp_path), run=str(tmp_path / "run"), minutes=minutes, **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bundle", ["vnet_left_atrium", "efficient_seg_net"])
def test_a_first_stage_takes_its_epochs_from_the_plan(bundle: str) -> None:
    configs = BUNDLES / bundle / "configs"
    (stage,) = configs.glob("train_*.json")
    assert json.loads(stage.read_text())["epochs"] == "$@plan['first_stage_epochs']"
    assert json.loads((configs / "plan.json").read_text())["first_stage_epochs"] > 0
