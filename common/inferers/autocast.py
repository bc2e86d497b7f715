"""Mixed precision and memory format for any inferer, on the CPU as on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["AutocastInferer", "autocast_dtype", "computes_in_bfloat16", "cuda_amp"]


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
        raise ValueError(f"amp must be True, False or auto (capitalised on the command line), got {amp!r}")
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


class AutocastInferer(Inferer):
    """Run another inferer in reduced precision; the result is float32, so losses and metrics are too.

    MONAI's engines autocast on CUDA only; this wrapper brings the same to the CPU, where bfloat16 about halves the time
    of a 3-D convolution.

    Args:
        inferer: does the work; a plain forward pass by default, of the volume without its metadata: what a function
            with a gradient of its own makes of a MetaTensor may not be overwritten by the layers that follow.
        amp: see :func:`autocast_dtype`.
    """

    def __init__(self, inferer: Inferer | None = None, *, amp: bool | str = "auto") -> None:
        super().__init__()
        self.inferer = _PlainForward() if inferer is None else inferer
        self.amp = amp
        autocast_dtype(amp, "cpu")  # a wrong value is an error here, not in the first step

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        dtype = autocast_dtype(self.amp, inputs.device)
        if dtype is None:
            return self.inferer(inputs, network, *args, **kwargs)
        if inputs.device.type == "cpu":
            with torch.autocast("cpu", dtype=dtype), _BetterChoices():
                return self.inferer(inputs, network, *args, **kwargs).float()
        with torch.autocast(inputs.device.type, dtype=dtype):
            return self.inferer(inputs, network, *args, **kwargs).float()


class _PlainForward(SimpleInferer):
    """A forward pass of a plain tensor."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        return super().__call__(torch.Tensor.as_subclass(inputs, Tensor), network, *args, **kwargs)


class _BetterChoices(TorchFunctionMode):
    """Where autocast on the CPU chooses the wrong type.

    - 3-D convolutions of volumes thinner than the kernel stay out of bfloat16: oneDNN as shipped with torch 2.13 leaves
      parts of their weight gradient uninitialised (first spatial side < kernel side), and sooner or later a step writes
      NaN into the network. They lie at the bottleneck and cost next to nothing.
    - Interpolation stays in bfloat16 where it is: autocast would compute it in float32, and so turn the large maps of a
      decoder to float32 and back.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv3d and args[0].shape[2] < args[1].shape[2]:
            with torch.autocast("cpu", enabled=False):
                return func(*(a.float() if isinstance(a, Tensor) else a for a in args), **kwargs)
        if func is nn.functional.interpolate and args[0].dtype is torch.bfloat16:
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)
