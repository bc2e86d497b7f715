"""Whether this package's kernels compute, or torch's stock operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from common.kernels.malloc import reuse_freed_memory

__all__ = ["enabled", "on_device", "recording", "stock", "tracing", "use"]

_used = True


def use(kernels: bool) -> None:
    """Compute with the kernels, or with stock operations, from here on in this process."""
    global _used
    _used = kernels


@contextmanager
def stock() -> Iterator[None]:
    """Compute with stock operations meanwhile."""
    before = _used
    use(False)
    try:
        yield
    finally:
        use(before)


def enabled() -> bool:
    """Whether kernels are used: they are switched on, and the network is not being traced, exported or compiled."""
    return _used and not torch.jit.is_tracing() and not torch.compiler.is_compiling()


def tracing() -> bool:
    """Whether the network is being traced: Python's conditions on sizes would become constants."""
    return torch.jit.is_tracing()


def recording() -> bool:
    """Whether operations are recorded: for a gradient, or because the network is being traced or exported.

    Where they are not, a block may work on large maps piece by piece to save memory.
    """
    return torch.is_grad_enabled() or torch.jit.is_tracing() or torch.compiler.is_exporting()


def on_device(
    network: nn.Module, device: torch.device | str, *, kernels: bool = True, channels_last: bool = True
) -> nn.Module:
    """Move a network to where it computes, and switch the kernels on or off for it.

    With kernels, weights are stored channels last, and on a CPU the process keeps freed memory for the next maps
    (:func:`~common.kernels.malloc.reuse_freed_memory`).

    Args:
        network: is moved in place.
        device: to move it to.
        kernels: False: compute with stock operations in contiguous memory.
        channels_last: whether the network is quicker with channels last.

    Returns:
        The network.
    """
    use(kernels)
    if not kernels:
        return network.to(device)
    reuse_freed_memory(device)
    return network.to(device, memory_format=torch.channels_last_3d) if channels_last else network.to(device)
