"""The lines a person reads while a run goes on."""

from __future__ import annotations

import logging
import re
import time
from io import StringIO
from types import SimpleNamespace

import pytest
from ignite.engine import Engine

from common.handlers import CohortProgress, Progress


def slow_batches(seconds: float):
    while True:
        time.sleep(seconds)
        yield 0


def run(engine: Engine, progress: Progress | CohortProgress, *, waiting: float = 0.0, epochs: int = 1) -> Engine:
    progress.attach(engine)
    engine.run(slow_batches(waiting), max_epochs=epochs, epoch_length=3)
    return engine


def trainer(losses: list[float], *, working: float = 0.0) -> Engine:
    def step(engine: Engine, batch: object) -> list[dict[str, float]]:
        time.sleep(working)
        return [{"loss": losses[(engine.state.iteration - 1) % len(losses)]}]

    return Engine(step)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.name == "common.handlers.progress"]


def test_each_epoch_is_one_line_with_its_mean_loss(lines):
    run(trainer([1.0, 2.0, 6.0, 0.5, 0.5, 0.5]), Progress(), epochs=2)
    assert [re.match(r"epoch \d/2: loss [\d.]+", line)[0] for line in lines()] == [
        "epoch 1/2: loss 3.0000",
        "epoch 2/2: loss 0.5000",
    ]


def test_mean_loss_is_a_metric_of_the_epoch():
    assert run(trainer([1.0, 2.0, 6.0]), Progress()).state.metrics["loss"] == pytest.approx(3.0)


def test_share_of_waiting_is_the_loaders_part_of_the_time():
    assert run(trainer([1.0], working=0.02), Progress(), waiting=0.06).state.metrics[
        "data_wait_fraction"
    ] == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_and_only_there(terminal, monkeypatch):
    screen = StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr("sys.stderr", screen)
    run(trainer([1.0]), Progress(), waiting=0.15)  # tqdm draws ten times a second at most
    drawn = screen.getvalue()
    assert ("epoch 1/1" in drawn and "3/3" in drawn and "loss=1.0000" in drawn) if terminal else drawn == ""


def test_a_bar_that_cannot_be_drawn_is_said_once_and_the_epochs_go_on(monkeypatch, caplog, lines, tmp_path):
    monkeypatch.chdir(tmp_path)
    screen = StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("tqdm.tqdm", None)
    run(trainer([1.0, 2.0, 3.0]), Progress(), epochs=2)
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert len([line for line in lines() if "loss 2.0000" in line]) == 2
    assert list(tmp_path.iterdir()) == []  # no log where nobody looks for it


def test_validation_is_told_in_the_epoch_it_took_place(lines):
    state = SimpleNamespace(epoch=2, metrics={"dice": 0.875}, best_metric=0.9, best_metric_epoch=1)
    run(trainer([1.0]), Progress(SimpleNamespace(state=state)), epochs=2)
    told = "dice 0.8750, best 0.9000 (epoch 1)"
    assert [told in line for line in lines()] == [False, True]


def test_every_case_of_a_cohort_is_one_line(lines):
    def predict(engine: Engine, batch: object) -> list:
        engine.state.batch = [{"case": f"p{engine.state.iteration}"}]
        return []

    run(Engine(predict), CohortProgress())
    assert [re.match(r"\d/3 p\d: [\d.]+ s", line) is not None for line in lines()] == [True] * 3


def test_case_that_failed_has_no_line_of_success(lines):
    def fail(engine: Engine, batch: object) -> list:
        engine.state.batch = []
        return []

    run(Engine(fail), CohortProgress())
    assert lines() == []
