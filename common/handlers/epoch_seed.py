"""Randomness as a pure function of (seed, epoch, rank): what makes a resumed run equal to an uninterrupted one."""

from __future__ import annotations

import random

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import set_rnd
from torch.utils.data import Dataset

__all__ = ["EpochSeed"]


class EpochSeed:
    """Reseed Python, NumPy, torch and the data set's random transforms at every epoch's start.

    The loader's iterator is made afterwards, so shuffling and the workers' seeds follow (no persistent workers: they
    would escape it).

    Args:
        seed: the run's seed.
        dataset: its transforms' random states are set for loading in the main process; workers set their own.
    """

    def __init__(self, seed: int, dataset: Dataset | None = None) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        entropy = np.random.SeedSequence([self.seed, engine.state.epoch, idist.get_rank()])
        seed = int(entropy.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        if self.dataset is not None:
            set_rnd(self.dataset, seed)
