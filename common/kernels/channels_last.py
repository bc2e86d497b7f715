"""Maps stored channels last on a CPU: what keeps them so."""

from __future__ import annotations

import torch
from torch import Tensor

from common.kernels.switch import enabled

__all__ = ["dense_gradient", "stored_channels_last_on_cpu", "stored_like"]


def stored_channels_last_on_cpu(x: Tensor) -> bool:
    """Whether maps (B, C, D, H, W) of more than a voxel lie on a CPU, channels last, in a type that layers compute in.

    Args:
        x: any tensor.
    """
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16, torch.float64)
        and x.dim() == 5
        and x.shape[2:].numel() > 1
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )


def dense_gradient(x: Tensor) -> Tensor:
    """The same maps, whose gradient is copied to dense memory where it is a part of a larger one, as that of ``cat``.

    Of what comes to it in parts, torch 2.13's trilinear upsampling makes contiguous maps on the CPU, and so takes seven
    times as long for its gradient.

    Args:
        x: maps (B, C, D, H, W). Nothing is done for those stored in another way, on another device, without a gradient,
            or in an exported or compiled network.
    """
    if torch.jit.is_scripting():
        return x
    return _with_dense_gradient(x)


def _with_dense_gradient(x: Tensor) -> Tensor:
    if enabled() and x.requires_grad and stored_channels_last_on_cpu(x):
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last_3d))
    return x


def stored_like(x: Tensor, like: Tensor) -> Tensor:
    """The same values, channels last where ``like`` is: a softmax over channels leaves its result contiguous.

    Args:
        x: maps (B, C, D, H, W).
        like: maps of the same number of axes.
    """
    if like.is_contiguous(memory_format=torch.channels_last_3d):
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x
