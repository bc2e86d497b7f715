"""A training that is resumed under other settings goes on as if they had been there from its start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.handlers import LrScheduleHandler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from common.handlers.restoring import base_rates, restore
from tools.verify_configs import combinations

LENGTH = 3  # iterations per epoch


class Run:
    """The optimizers and schedules of a bundle's configuration, on a network of one weight, without data."""

    def __init__(self, bundle: Path, files: list[str], *, length: int = LENGTH, **knobs: object) -> None:
        config = ConfigParser()
        config.read_config([str(bundle / "configs" / name) for name in files])
        for name, value in knobs.items():
            config[name] = value
        config["network"] = torch.nn.Linear(1, 1)
        config["discriminator"] = torch.nn.Linear(1, 1)
        config["train#dataloader"] = [0] * length
        if "pade_learning_rate" in config.get():
            config["optimizer#params"] = [
                {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": "@pade_learning_rate"},
                {"params": [torch.nn.Parameter(torch.zeros(1))]},
            ]
        handler = next(item for item in config["train#handlers"] if item["_target_"] == "LrScheduleHandler")
        per_epoch = config["lr_per_epoch"] if handler["epoch_level"] == "@lr_per_epoch" else handler["epoch_level"]
        names = [key for key in config["checkpointed"] if key not in ("adversary",)]
        self.objects: dict[str, Any] = {key: config.get_parsed_content(key) for key in names}
        self.optimizers = [item for item in self.objects.values() if isinstance(item, Optimizer)]
        (self.schedule,) = [item for item in self.objects.values() if isinstance(item, LRScheduler)]
        self.rates = base_rates(self.objects)
        self.trainer = Engine(self.step)
        self.trainer.state.epoch_length = length
        self.length = length
        plateau = isinstance(self.schedule, ReduceLROnPlateau)
        criterion = {"step_transform": lambda engine: 1.0} if plateau else {}
        LrScheduleHandler(self.schedule, print_lr=False, epoch_level=per_epoch, **criterion).attach(self.trainer)
        self.course: list[list[float]] = []  # all learning rates of every step

    def step(self, engine: Engine, batch: Any) -> None:
        self.course.append([group["lr"] for item in self.optimizers for group in item.param_groups])
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()

    def train(self, epochs: int, until: int | None = None) -> Run:
        self.trainer.run([0] * self.length, max_epochs=until or epochs)
        return self

    def resumed_from(self, other: Run) -> Run:
        epoch = other.trainer.state.epoch
        states = {key: item.state_dict() for key, item in other.objects.items()}
        restore(self.objects, states, self.trainer, epoch=epoch, rates=other.rates)
        self.trainer.load_state_dict(
            {
                "iteration": epoch * self.length,
                "epoch_length": self.length,
                "max_epochs": other.trainer.state.max_epochs,
            }
        )
        return self


def trainings(bundle: Path) -> list[list[str]]:
    """All configurations that train in one process."""
    found = [each.files for each in combinations(bundle / "configs") if each.files[0].startswith("train")]
    return [list(files) for files in found if not {"evaluate.json", "multi_gpu_train.json"} & set(files)]


@pytest.fixture(params=[8, 16], ids=["to half the end", "to the end"])
def first(request: pytest.FixtureRequest) -> int:
    """The number of epochs that the first run was started with; eight are done."""
    return request.param


def test_schedules_go_on_as_if_the_new_number_of_epochs_had_been_there_from_the_start(bundle: Path, first: int) -> None:
    for files in trainings(bundle):
        straight = Run(bundle, files, epochs=16).train(16)
        before = Run(bundle, files, epochs=first).train(first, until=8)
        after = Run(bundle, files, epochs=16).resumed_from(before).train(16)
        assert after.course == straight.course[8 * LENGTH :], files
        ends = [[group["lr"] for item in run.optimizers for group in item.param_groups] for run in (after, straight)]
        assert ends[0] == ends[1], files


def test_another_learning_rate_counts_from_there_on(bundle: Path) -> None:
    for files in trainings(bundle):
        straight = Run(bundle, files, epochs=16, learning_rate=0.02).train(16)
        before = Run(bundle, files, epochs=16, learning_rate=0.01).train(16, until=8)
        after = Run(bundle, files, epochs=16, learning_rate=0.02).resumed_from(before).train(16)
        assert after.course == [pytest.approx(rates, rel=1e-12) for rates in straight.course[8 * LENGTH :]], files
        assert after.course != Run(bundle, files, epochs=16, learning_rate=0.01).train(16).course[8 * LENGTH :]


def test_another_batch_size_makes_the_steps_that_it_would_have_made(bundle: Path) -> None:
    for files in trainings(bundle):
        straight = Run(bundle, files, epochs=16, length=5).train(16)
        before = Run(bundle, files, epochs=16).train(16, until=8)
        after = Run(bundle, files, epochs=16, length=5).resumed_from(before).train(16)
        assert after.course == straight.course[8 * 5 :], files


def test_schedules_take_their_length_from_the_trainer_which_a_host_may_change(bundle: Path) -> None:
    for files in trainings(bundle):
        host = Run(bundle, files, **{"epochs": 8, "train#trainer#max_epochs": 16}).train(16)
        assert host.course == Run(bundle, files, epochs=16).train(16).course, files


def test_moments_are_the_stored_ones(bundle: Path) -> None:
    for files in trainings(bundle):
        before = Run(bundle, files, epochs=8).train(8)
        after = Run(bundle, files, epochs=16).resumed_from(before)
        for old, new in zip(before.optimizers, after.optimizers, strict=True):
            torch.testing.assert_close(new.state_dict()["state"], old.state_dict()["state"], rtol=0, atol=0)


def test_the_paper_locators_plateau_keeps_its_history() -> None:
    """Its rate falls by 0.85 after 15 epochs without progress: the first counts as progress, the 17th falls."""
    bundle = Path(__file__).parents[2] / "bundles/vnet_left_atrium"
    files = ["train_locator.json", "paper_locator.json"]
    before = Run(bundle, files, epochs=30, learning_rate=0.01).train(30, until=20)
    after = Run(bundle, files, epochs=30, learning_rate=0.02).resumed_from(before).train(30)
    assert [rates[0] for rates in before.course[::LENGTH]] == [0.01] * 17 + [0.01 * 0.85] * 3
    assert [rates[0] for rates in after.course[::LENGTH]] == pytest.approx([0.02 * 0.85] * 10)
