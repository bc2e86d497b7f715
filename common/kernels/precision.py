"""Mixed precision on the CPU as on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from common.kernels.switch import enabled

__all__ = ["autocast", "autocast_dtype", "computes_in_bfloat16", "cuda_amp"]


@contextmanager
def autocast(amp: bool | str, device: torch.device | str) -> Iterator[bool]:
    """Compute in reduced precision meanwhile, where :func:`autocast_dtype` has one; yields whether it has."""
    dtype, device = autocast_dtype(amp, device), torch.device(device)
    if dtype is None:
        yield False
    elif device.type == "cpu":
        with torch.autocast("cpu", dtype=dtype), _BetterTypes():
            yield True
    else:
        with torch.autocast(device.type, dtype=dtype):
            yield True


def computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AVX512-BF16 or AMX), and oneDNN may use them.

    oneDNN is limited by the environment's `ONEDNN_MAX_CPU_ISA`. Without the instructions a convolution takes many times
    as long in bfloat16 as in float32.
    """
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return has_instructions and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast_dtype(amp: bool | str, device: torch.device | str) -> torch.dtype | None:
    """Reduced precision to compute in, or None for float32.

    Args:
        amp: ``True``, ``False``, or ``"auto"``: reduced precision where the hardware computes in it, that is float16 on
            CUDA and bfloat16 on a CPU that :func:`computes_in_bfloat16`.
        device: where the network runs.

    Raises:
        ValueError: for any other ``amp`` (the text ``"true"``, say).
    """
    if amp is not True and amp is not False and amp != "auto":
        raise ValueError(f"amp must be True, False or auto (capitalized on the command line), got {amp!r}")
    device = torch.device(device)
    if amp is False:
        return None
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return None
    return torch.bfloat16 if amp is True or computes_in_bfloat16() else None


def cuda_amp(amp: bool | str, device: torch.device | str) -> bool:
    """What MONAI's engines take as ``amp``: they autocast, and scale the loss, on CUDA only."""
    return autocast_dtype(amp, device) == torch.float16


class _BetterTypes(TorchFunctionMode):
    """Where autocast on the CPU chooses the wrong type.

    - 3-D convolutions of volumes thinner than the kernel stay out of bfloat16: oneDNN as shipped with torch 2.13 leaves
      parts of their weight gradient uninitialized (first spatial side < kernel side), and sooner or later a step writes
      NaN into the network. They lie at the bottleneck and cost next to nothing.
    - Interpolation stays in bfloat16 where it is: autocast would compute it in float32, and so turn the large maps of a
      decoder to float32 and back.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv3d and args[0].shape[2] < args[1].shape[2]:
            with torch.autocast("cpu", enabled=False):
                return func(*(a.float() if isinstance(a, Tensor) else a for a in args), **kwargs)
        if func is F.interpolate and args[0].dtype is torch.bfloat16 and enabled():
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)
