"""The network works on the next case while this one is finished: same results, same errors, one case ahead."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import IterationEvents
from torch import Tensor, nn

from common.engines import FaultTolerantEvaluator
from common.handlers import FailureLog

PATIENCE = 20  # seconds until a test that waits in vain fails


class Cohort:
    """Batches with the numbers 1, 2, ... for images, and what happened to them, in order."""

    def __init__(self, folder: Path, cases: int, *, overlap: bool = True) -> None:
        self.folder, self.cases, self.overlap = folder, cases, overlap
        self.happened: list[str] = []
        self.network: Callable[[int], None] = lambda number: None
        self.finish: Callable[[int], None] = lambda number: None
        self.fetch: Callable[[int], None] = lambda number: None

    def __len__(self) -> int:
        return self.cases

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(1, self.cases + 1):
            self.fetch(number)
            self.happened.append(f"fetch {number}")
            meta = {"filename_or_obj": [f"{number}.nii.gz"]}
            image = MetaTensor(torch.full((1, 1, 2, 2, 2), float(number)), meta=meta)
            yield {"case": [str(number)], "image": image}

    def _infer(self, inputs: Tensor, network: nn.Module) -> Tensor:
        number = int(inputs.max())
        self.happened.append(f"network {number}")
        self.network(number)
        return network(inputs)

    def _finish(self, data: dict[str, Any]) -> dict[str, Any]:
        self.happened.append(f"finish {int(data['pred'].max()) - 10}")
        self.finish(int(data["pred"].max()) - 10)
        return data

    def run(self, **options: Any) -> SimpleNamespace:
        """What came out: each case's prediction, failures, the evaluator."""
        self.evaluator = FaultTolerantEvaluator(
            device="cpu",
            val_data_loader=self,
            network=AddTen(),
            inferer=self._infer,
            postprocessing=self._finish,
            failures=FailureLog(self.folder),
            overlap=self.overlap,
            **options,
        )
        done = []
        self.evaluator.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: done.extend(
                (item["case"], int(output["pred"].max()))
                for item, output in zip(engine.state.batch, engine.state.output, strict=True)
            ),
        )
        self.done = done
        self.evaluator.run()
        return SimpleNamespace(done=done, failures=self.failures())

    def failures(self) -> dict[str, str]:
        return {row["case"]: row["reason"] for row in json.loads((self.folder / "failures.json").read_text())}


class AddTen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return x + self.weight


def raises(number: int, error: BaseException) -> Callable[[int], None]:
    def step(current: int) -> None:
        if current == number:
            raise error

    return step


def test_the_network_works_on_the_next_case_while_one_is_finished(tmp_path):
    """Case 1 cannot be finished before the network has begun case 2: one after the other would wait in vain."""
    cohort, begun = Cohort(tmp_path, 2), threading.Event()
    cohort.network = lambda number: begun.set() if number == 2 else None

    def finish(number: int) -> None:
        assert begun.wait(PATIENCE)

    cohort.finish = finish
    assert cohort.run().failures == {}


def test_the_network_is_never_more_than_one_case_ahead(tmp_path):
    cohort, ahead = Cohort(tmp_path, 5), []

    def finish(number: int) -> None:
        threading.Event().wait(0.05)  # time for more than one case
        ahead.append(max(int(step.split()[1]) for step in cohort.happened if "network" in step) - number)

    cohort.finish = finish
    cohort.run()
    assert ahead == [1, 1, 1, 1, 0]
    assert all(
        cohort.happened.index(f"finish {number}") < cohort.happened.index(f"fetch {number + 2}") for number in (1, 2, 3)
    )


@pytest.mark.parametrize("overlap", [True, False])
def test_results_and_events_come_in_the_cohorts_order(tmp_path, overlap):
    assert Cohort(tmp_path, 4, overlap=overlap).run().done == [("1", 11), ("2", 12), ("3", 13), ("4", 14)]


def test_without_overlap_a_case_is_finished_before_the_next_one_begins(tmp_path):
    cohort = Cohort(tmp_path, 3, overlap=False)
    cohort.run()
    assert cohort.happened == [f"{step} {n}" for n in (1, 2, 3) for step in ("fetch", "network", "finish")]


def test_events_of_the_network_belong_to_the_case_that_is_finished(tmp_path):
    cohort, seen = Cohort(tmp_path, 3), []
    cohort.run()
    evaluator = cohort.evaluator
    for event in (Events.ITERATION_STARTED, IterationEvents.FORWARD_COMPLETED):
        evaluator.add_event_handler(event, lambda engine: seen.append(int(engine.state.batch["image"].max())))
    evaluator.run()
    assert seen == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("side", ["network", "finish"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_error_of_either_side_is_its_cases_and_the_others_go_on(tmp_path, overlap, side, number):
    cohort = Cohort(tmp_path, 3, overlap=overlap)
    setattr(cohort, side, raises(number, RuntimeError(f"no {number}")))
    result = cohort.run()
    assert result.failures == {str(number): f"no {number}"}
    assert result.done == [(str(n), 10 + n) for n in (1, 2, 3) if n != number]


@pytest.mark.parametrize("overlap", [True, False])
def test_errors_of_both_sides_at_the_same_time_are_both_recorded(tmp_path, overlap):
    cohort = Cohort(tmp_path, 3, overlap=overlap)
    cohort.finish, cohort.network = raises(1, OSError("disk full")), raises(2, MemoryError("too large"))
    result = cohort.run()
    assert result.failures == {"1": "disk full", "2": "out of memory: lower what decides how much is computed at once"}
    assert result.done == [("3", 13)]


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_of_the_loader_ends_the_run_after_the_cases_before_it(tmp_path, overlap):
    cohort = Cohort(tmp_path, 4, overlap=overlap)
    cohort.fetch = raises(3, RuntimeError("worker killed"))
    with pytest.raises(RuntimeError, match="worker killed"):
        cohort.run()
    assert cohort.done == [("1", 11), ("2", 12)]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("side", ["network", "finish", "fetch"])
def test_an_interruption_ends_the_run_at_once(tmp_path, overlap, side):
    cohort = Cohort(tmp_path, 4, overlap=overlap)
    setattr(cohort, side, raises(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cohort.run()
    assert not any("4" in step for step in cohort.happened)
    assert json.loads((tmp_path / "failures.json").read_text()) == []  # always written


def test_no_thread_is_left_after_an_interruption_nor_is_a_case_under_way(tmp_path):
    cohort, begun, ended = Cohort(tmp_path, 3), threading.Event(), threading.Event()

    def network(number: int) -> None:
        if number == 2:
            begun.set()
            threading.Event().wait(0.2)
            ended.set()

    def finish(number: int) -> None:
        assert begun.wait(60)
        raise KeyboardInterrupt

    cohort.network, cohort.finish = network, finish
    with pytest.raises(KeyboardInterrupt):
        cohort.run()
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if "one-case-ahead" in thread.name]


def test_everything_is_finished_when_the_epoch_completes(tmp_path):
    cohort, at_end = Cohort(tmp_path, 3), []
    handler = SimpleNamespace(
        attach=lambda engine: engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: at_end.extend(cohort.happened))
    )
    cohort.run(val_handlers=[handler])
    assert [step for step in at_end if "finish" in step] == ["finish 1", "finish 2", "finish 3"]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_cohort_without_a_case_completes(tmp_path, overlap):
    cohort = Cohort(tmp_path, 0, overlap=overlap)
    assert cohort.run().failures == {}
    assert cohort.happened == []


def test_one_case_alone_is_done(tmp_path):
    assert Cohort(tmp_path, 1).run().done == [("1", 11)]


def test_a_second_run_does_the_cohort_again(tmp_path):
    cohort = Cohort(tmp_path, 2)
    cohort.run()
    cohort.evaluator.run()
    assert cohort.done == [("1", 11), ("2", 12)] * 2


@pytest.mark.parametrize("value", ["False", 0, None])
def test_a_switch_that_is_no_boolean_is_an_error(tmp_path, value):
    with pytest.raises(ValueError, match="overlap must be True or False"):
        Cohort(tmp_path, 1, overlap=value).run()
