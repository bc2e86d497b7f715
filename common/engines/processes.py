"""One process per GPU: which device is whose, and how the processes of a job find each other and part."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from datetime import timedelta

import ignite.distributed as idist
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["data_parallel", "join_processes", "own_device"]

# Long, because the others wait while the first process checks the data or fits: torchrun ends a job whose process died.
PATIENCE = timedelta(hours=12)


def own_device() -> torch.device:
    """This process's GPU, numbered by torchrun's ``LOCAL_RANK``; the CPU where there is no CUDA."""
    number = int(os.environ.get("LOCAL_RANK", 0))
    return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")


def join_processes(device: torch.device | str) -> None:
    """Meet the other processes that torchrun started, with NCCL for CUDA and Gloo for the CPU; without torchrun, alone.

    The first process speaks for all: the others log warnings and worse only. At the process's end the group is left,
    unless an error ends it: then the others may never come, and torchrun ends them.

    Args:
        device: where this process computes.
    """
    idist.initialize("nccl" if torch.device(device).type == "cuda" else "gloo", timeout=PATIENCE)
    if idist.get_rank() > 0:
        logging.disable(logging.INFO)
    atexit.register(_leave)


def data_parallel(network: nn.Module, *, find_unused_parameters: bool = False) -> DistributedDataParallel:
    """The network as a trainer takes it: the processes' gradients are averaged. Everything else takes it as it is.

    Batch normalization takes its statistics from the whole batch on CUDA; on the CPU each process has its own, and the
    first one's are saved.

    Args:
        network: on its device, the same in every process; its weights are the first one's from here on.
        find_unused_parameters: for a network with parameters that no output depends on.
    """
    if next(network.parameters()).is_cuda:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, find_unused_parameters=find_unused_parameters)


def _leave() -> None:
    if torch.distributed.is_initialized() and not hasattr(sys, "last_value"):
        idist.finalize()
