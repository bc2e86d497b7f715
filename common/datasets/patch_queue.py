"""A queue of patches, so that a batch mixes patches of several cases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import DataLoader
from monai.transforms import Randomizable
from torch.utils.data import Dataset, IterableDataset, get_worker_info

__all__ = ["PatchQueue"]


class PatchQueue(IterableDataset, Randomizable):
    """Patches of many cases in random order: fill a buffer case by case, shuffle it, hand it out, fill it again.

    Cases come in an order drawn anew for each epoch, each once, with exactly ``samples_per_case`` patches. A plain
    ``DataLoader`` over it, *without workers of its own*, makes the batches. With ``num_workers`` the cases are loaded
    in the background, in the same order, while the buffer is being handed out; what is drawn depends on the random
    state that :class:`~common.handlers.EpochSeed` sets (give it this object as ``dataset``) and on ``num_workers``, not
    on timing.

    Under torch.distributed every rank takes its share of one common order, equally many cases each: where they do not
    divide, the first cases of the order come twice.

    Args:
        dataset: gives a case's list of ``samples_per_case`` patches (or its only one), such as a
            :class:`~common.datasets.CachedDataset` whose transforms end in a random crop.
        samples_per_case: patches from each case.
        queue_size: patches that are mixed. Up to twice as many are in memory (shared memory with workers): 40 patches
            of 96x96x96 float32 with a uint8 label are 177 MB.
        num_workers: processes that load cases; 0 loads them when the buffer is empty.

    Raises:
        ValueError: while iterating, for another number of patches than announced, or inside a worker.

    Example::

        >>> patches = PatchQueue(dataset, samples_per_case=5, queue_size=40, num_workers=2)
        >>> loader = DataLoader(patches, batch_size=2)
    """

    def __init__(self, dataset: Dataset, *, samples_per_case: int, queue_size: int = 40, num_workers: int = 0) -> None:
        self.dataset = dataset
        self.samples_per_case = samples_per_case
        self.queue_size = queue_size
        self.num_workers = num_workers

    def __len__(self) -> int:
        """Patches of an epoch on this rank."""
        return self.samples_per_case * math.ceil(len(self.dataset) / idist.get_world_size())

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise ValueError("PatchQueue has workers of its own: give num_workers to it, and 0 to the DataLoader")
        patches = self._patches(self._cases())
        while buffer := list(islice(patches, self.queue_size)):
            self.R.shuffle(buffer)
            while buffer:
                yield buffer.pop()  # so that what was handed out can be freed

    def _cases(self) -> list[int]:
        """This rank's cases, in the epoch's order."""
        seed = torch.tensor(self.R.randint(2**31), dtype=torch.int64, device=idist.device())
        if idist.get_world_size() > 1:
            seed = idist.broadcast(seed, src=0)  # each rank's random state is its own; the order is common
        order = np.random.RandomState(int(seed)).permutation(len(self.dataset))
        ranks = idist.get_world_size()
        everyone = np.resize(order, ranks * math.ceil(len(order) / ranks))  # begins again where cases do not divide
        return everyone[idist.get_rank() :: ranks].tolist()

    def _patches(self, cases: list[int]) -> Iterator[Any]:
        """All patches, case after case."""
        ahead = {}
        if self.num_workers:  # the next filling is loaded while this one is handed out
            cases_per_filling = self.queue_size / self.samples_per_case
            ahead["prefetch_factor"] = max(1, math.ceil(cases_per_filling / self.num_workers))
        loader = DataLoader(
            self.dataset,
            num_workers=self.num_workers,
            batch_size=None,
            sampler=cases,
            collate_fn=_as_loaded,
            generator=torch.Generator().manual_seed(self.R.randint(2**31)),  # all that the transforms draw follows
            **ahead,
        )
        for case, loaded in zip(cases, loader, strict=True):
            patches = loaded if isinstance(loaded, list) else [loaded]
            if len(patches) != self.samples_per_case:
                raise ValueError(
                    f"PatchQueue: case {case} gave {len(patches)} patches, expected samples_per_case="
                    f"{self.samples_per_case}; is that the number that the random crop draws?"
                )
            yield from patches


def _as_loaded(patches: Any) -> Any:
    """Collate nothing: the loader outside makes the batches."""
    return patches
