"""What an epoch draws depends on seed, epoch and rank, and on nothing that happened before."""

from __future__ import annotations

import random

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandGaussianNoised

from common.handlers import EpochSeed


def draws(seed: int = 0, *, epochs: int = 3, done: int = 0, workers: int = 0) -> list[torch.Tensor]:
    """Everything random that each epoch meets: (epochs - done) stacks of 4 numbers per batch."""
    noise = Compose([RandGaussianNoised("x", prob=1.0)])
    dataset = Dataset([{"x": torch.full((1,), 10.0 * i)} for i in range(6)], noise)
    seen: dict[int, list[float]] = {}

    def step(engine: Engine, batch: dict[str, torch.Tensor]) -> None:
        inner = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        seen.setdefault(engine.state.epoch, []).extend([float(batch["x"][0, 0]), *inner])

    engine = Engine(step)
    EpochSeed(seed, dataset).attach(engine)
    engine.load_state_dict({"epoch": done, "max_epochs": epochs, "epoch_length": 6})
    engine.run(DataLoader(dataset, batch_size=1, shuffle=True, num_workers=workers))
    return [torch.tensor(seen[epoch]) for epoch in sorted(seen)]


@pytest.mark.parametrize("workers", [0, 2])
def test_later_epochs_do_not_depend_on_those_before(workers):
    straight = draws(workers=workers)
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(draws(done=2, workers=workers)[0], straight[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_no_draw_of_one_epoch_returns_in_another(workers):
    one, two, three = (set(epoch.tolist()) for epoch in draws(workers=workers))
    assert len(one) == len(two) == len(three) == 24
    assert not one & two and not two & three and not one & three


def test_another_seed_draws_other_numbers():
    assert not set(draws(0)[0].tolist()) & set(draws(1)[0].tolist())


def test_each_process_of_a_run_draws_its_own_numbers(monkeypatch):
    first = draws()[0]
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    assert not set(first.tolist()) & set(draws()[0].tolist())
