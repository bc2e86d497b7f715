"""The learning curve of a run, and of a resumed one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ignite.engine import Engine, Events
from matplotlib.image import imread

from common.handlers import LearningCurve


@pytest.fixture
def evaluator() -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(epoch=0, key_metric_name="val_mean_dice", metrics={}))


@pytest.fixture
def curve(tmp_path, evaluator) -> LearningCurve:
    return LearningCurve(tmp_path / "out", evaluator)


def train(curve: LearningCurve, evaluator: SimpleNamespace, epochs: range) -> None:
    """Epochs with loss 1 / epoch; every second one validates, Dice epoch / 10."""
    trainer = Engine(lambda engine, batch: None)

    def validate(engine: Engine) -> None:
        engine.state.metrics["loss"] = 1 / engine.state.epoch
        engine.state.metrics["accuracy"] = 1 - engine.state.epoch / 10
        if engine.state.epoch % 2 == 0:
            evaluator.state.epoch = engine.state.epoch
            evaluator.state.metrics = {"val_mean_dice": engine.state.epoch / 10}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    curve.attach(trainer)
    trainer.load_state_dict({"epoch": epochs.start, "epoch_length": 1, "max_epochs": epochs.stop})
    trainer.run([0], max_epochs=epochs.stop, epoch_length=1)


def test_the_curve_holds_every_loss_and_the_metric_of_validated_epochs_only(curve, evaluator):
    train(curve, evaluator, range(0, 5))
    assert curve.losses == {1: 1.0, 2: 1 / 2, 3: 1 / 3, 4: 1 / 4, 5: 1 / 5}
    assert curve.metrics == {2: 0.2, 4: 0.4}


def test_the_picture_is_there_after_the_first_validation(tmp_path, curve, evaluator):
    curve.losses = {1: 1.0}
    evaluator.state.epoch, evaluator.state.metrics = 2, {"val_mean_dice": 0.2}
    curve._note(SimpleNamespace(state=SimpleNamespace(epoch=2, metrics={"loss": 0.5})))
    assert imread(tmp_path / "out/learning_curve.png").shape == (540, 960, 4)


def test_a_resumed_run_shows_the_whole_curve(tmp_path, curve, evaluator):
    train(curve, evaluator, range(0, 2))
    resumed = LearningCurve(tmp_path / "out", evaluator)
    resumed.load_state_dict(curve.state_dict())
    train(resumed, evaluator, range(2, 4))
    assert list(resumed.losses) == [1, 2, 3, 4]
    assert resumed.metrics == {2: 0.2, 4: 0.4}


def test_a_resumed_run_has_all_of_the_shares_that_are_asked_for(tmp_path, evaluator):
    curve, resumed = (LearningCurve(tmp_path, evaluator, fractions=["accuracy"]) for _ in range(2))
    train(curve, evaluator, range(0, 2))
    resumed.load_state_dict(curve.state_dict())
    train(resumed, evaluator, range(2, 3))
    assert resumed.fractions == {"accuracy": {1: 0.9, 2: 0.8, 3: 0.7}}


@pytest.mark.parametrize("fractions", [[], ["accuracy"]])
def test_a_share_is_a_green_line(tmp_path, evaluator, fractions):
    train(LearningCurve(tmp_path, evaluator, fractions=fractions), evaluator, range(0, 2))
    red, green, blue, _ = imread(tmp_path / "learning_curve.png").transpose(2, 0, 1)
    assert ((green > red + 0.2) & (green > blue + 0.2)).any() == bool(fractions)


def test_a_checkpoint_from_before_there_were_shares_can_be_resumed(tmp_path, curve, evaluator):
    train(curve, evaluator, range(0, 2))
    state = curve.state_dict()
    del state["fractions"]
    resumed = LearningCurve(tmp_path / "out", evaluator, fractions=["accuracy"])
    resumed.load_state_dict(state)
    train(resumed, evaluator, range(2, 4))
    assert resumed.fractions == {"accuracy": {3: 0.7, 4: 0.6}}


def test_a_picture_that_cannot_be_drawn_costs_nothing_else_and_is_said_once(tmp_path, curve, evaluator, caplog):
    (tmp_path / "out/learning_curve.png/in the way").mkdir(parents=True)
    train(curve, evaluator, range(0, 5))
    assert list(curve.losses) == [1, 2, 3, 4, 5]
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"{curve.path}: cannot be written (Is a directory)"]


def test_the_traceback_of_a_picture_that_fails_by_a_programming_error_goes_to_the_runs_log(
    tmp_path, curve, evaluator, caplog, monkeypatch
):
    monkeypatch.setattr("matplotlib.figure.Figure.add_subplot", None)
    train(curve, evaluator, range(0, 5))
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said.endswith(f"; traceback: {tmp_path / 'out/log.txt'}")
    assert "TypeError: 'NoneType' object is not callable" in (tmp_path / "out/log.txt").read_text()
