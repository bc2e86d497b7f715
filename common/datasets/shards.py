"""Several processes, one job: what is decided once, and which cases are whose."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from math import gcd
from typing import Any, TypeVar

import ignite.distributed as idist
from monai.data import DataLoader
from torch.utils.data import Dataset, DistributedSampler, IterableDataset

__all__ = ["run_on_rank_zero", "shard", "sharded_loader", "validation_shard"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


_deciding: ContextVar[bool] = ContextVar("deciding", default=False)  # whether the first process is within a decision


def run_on_rank_zero(decide: Callable[[], T]) -> T:
    """What ``decide`` returns in the first process, in all of them; each must call it, and only the first works.

    Within ``decide`` it may be called again: that is the first process's own affair.

    Args:
        decide: its result goes to other processes, so it must be picklable.

    Raises:
        Exception: what ``decide`` raises, in the first process; RuntimeError with its text in the others. Both have the
            attribute ``in_all_processes``, so that the command line prints the message once.
    """
    if idist.get_world_size() == 1 or _deciding.get():
        return decide()
    outcome: dict[str, Any] = {}
    error: Exception | None = None
    if idist.get_rank() == 0:
        token = _deciding.set(True)
        try:
            outcome["result"] = decide()
        except Exception as raised:
            outcome["error"], error = str(raised), raised
        finally:
            _deciding.reset(token)
    outcome = idist.all_gather(outcome)[0]
    if "error" in outcome:
        error = error or RuntimeError(outcome["error"])
        error.in_all_processes = True
        raise error
    return outcome["result"]


def shard(cases: Sequence[T]) -> list[T]:
    """This process's cases: every n-th of n processes; every case is one process's, none is repeated.

    With fewer cases than processes some get none: :class:`~common.engines.FaultTolerantEvaluator` minds that.
    """
    return list(cases[idist.get_rank() :: idist.get_world_size()])


def validation_shard(cases: Sequence[T]) -> list[T]:
    """This process's cases of a validation during training, of which MONAI's metrics need at least one each.

    With fewer cases than processes each takes several in turn, so many that every case counts equally often and the
    mean over all is that over the cases.
    """
    n, processes = len(cases), idist.get_world_size()
    if n >= processes or n == 0:
        return shard(cases)
    each = n // gcd(n, processes)
    return [cases[(idist.get_rank() * each + k) % n] for k in range(each)]


def sharded_loader(
    dataset: Dataset, *, batch_size: int, seed: int, shuffle: bool = False, drop_last: bool = False, **kwargs: Any
) -> DataLoader:
    """A loader of this process's shard of every batch, anew shuffled in every epoch.

    The steps of an epoch are as many as in one process with the same ``batch_size``, where it can be divided.

    Args:
        dataset: all items, the same in every process; or one that shares them out itself, such as
            :class:`~common.datasets.PatchQueue`, whose order is its own.
        batch_size: of all processes together.
        seed: of the order, with the epoch.
        shuffle: as for :class:`torch.utils.data.DistributedSampler`, which repeats some items where they cannot be
            divided.
        drop_last: leave out the last batch where it is not full.
        kwargs: as for :class:`monai.data.DataLoader`, per process.
    """
    processes = idist.get_world_size()
    own = max(batch_size // processes, 1)
    if own * processes != batch_size and idist.get_rank() == 0:
        logger.warning(
            "batch_size %d on %d processes: each takes %d, %d in all", batch_size, processes, own, own * processes
        )
    if isinstance(dataset, IterableDataset):
        return DataLoader(dataset, batch_size=own, **kwargs)
    drop_last = drop_last and len(dataset) >= own * processes
    sampler = DistributedSampler(dataset, processes, idist.get_rank(), shuffle=shuffle, seed=seed, drop_last=drop_last)
    return DataLoader(dataset, batch_size=own, sampler=sampler, drop_last=drop_last, **kwargs)
