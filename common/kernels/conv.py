"""Convolution with many weights and few voxels, as a product of matrices: quicker in bfloat16 on a CPU."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.switch import enabled

__all__ = ["conv3d"]

WEIGHTS_PER_VOXEL = 2**15  # of the output, from which products of matrices are quicker


def conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0) -> Tensor:
    """``torch.nn.functional.conv3d`` for the bottom of a wide network.

    oneDNN reorders all weights before a convolution, and computes their gradient slowly. With 1024 channels in, 512 out
    and 4x4x4 kernels, in bfloat16 on two cores, a map of 8x8x8 voxels takes 0.11 s forward and 0.26 s backward as
    matrices instead of 0.14 and 0.37 s, one of 4x4x4 voxels 0.012 and 0.046 s instead of 0.06 and 0.20 s.

    Args:
        x: maps (B, C, D, H, W).
        weight: kernels (K, C, d, h, w).
        bias: (K,), or None.
        padding: planes of zeros on every side.

    Returns:
        (B, K, D', H', W'), as ``conv3d`` gives it within rounding, in autocast's type where that is enabled. It is
        ``conv3d``'s own answer unless the type is bfloat16, the device a CPU and there are at least 2^15 weights for
        each voxel of the answer, and in scripted, traced, exported or compiled networks. As matrices it has first
        derivatives only.
    """
    if torch.jit.is_scripting():  # on a line of its own: what follows is not compiled
        return F.conv3d(x, weight, bias, padding=padding)
    return _quicker(x, weight, bias, padding)


def _quicker(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    if _is_quicker(x, weight, padding):
        return _matmul(x, weight, bias, padding)
    return F.conv3d(x, weight, bias, padding=padding)


def _is_quicker(x: Tensor, weight: Tensor, padding: int) -> bool:
    if not enabled() or x.device.type != "cpu" or x.dim() != 5:
        return False
    types = {x.dtype, weight.dtype}
    if torch.is_autocast_enabled("cpu") and torch.float64 not in types:
        types = {torch.get_autocast_dtype("cpu")}
    voxels = x.shape[0]
    for side, kernel in zip(x.shape[2:], weight.shape[2:], strict=True):
        voxels *= side + 2 * padding - kernel + 1
    return types == {torch.bfloat16} and voxels > 0 and weight.numel() >= WEIGHTS_PER_VOXEL * voxels


def _matmul(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return _MatmulConv.apply(F.pad(x.to(torch.bfloat16), [padding] * 6), weight, bias)


class _MatmulConv(torch.autograd.Function):
    """Every voxel's neighborhood is a row, every kernel a column.

    Kernels of float32 are kept for the gradient as they are: a copy in bfloat16 costs less time than memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        rows, sides = _neighborhoods(x, weight.shape[2:])
        kernels = _kernels(weight).flatten(1)
        y = rows @ kernels.t() if bias is None else torch.addmm(bias.to(rows.dtype), rows, kernels.t())
        return _channels_first(y.view(x.shape[0], *sides, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        sides = gradient.shape[2:]
        columns = _channels_last(gradient).flatten(0, 3)  # (voxels, K)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            kernels = _kernels(weight)
            rows = (columns @ kernels.flatten(1)).view(x.shape[0], *sides, *kernels.shape[1:])
            of_x = torch.zeros((x.shape[0], *x.shape[2:], x.shape[1]), dtype=torch.float32)  # sums of many
            for place in itertools.product(*map(range, weight.shape[2:])):
                of_x[:, *_seen(place, sides)] += rows[:, :, :, :, *place]
            of_x = _channels_first(of_x.to(x.dtype))
            del rows  # before as large a part again
        if ctx.needs_input_grad[1]:
            rows, _ = _neighborhoods(x, weight.shape[2:])
            of_weight = _channels_first((columns.t() @ rows).view(len(weight), *weight.shape[2:], -1))
        if ctx.needs_input_grad[2]:
            of_bias = columns.sum(dim=0)
        return of_x, of_weight, of_bias


def _neighborhoods(x: Tensor, kernel: torch.Size) -> tuple[Tensor, tuple[int, ...]]:
    """What every voxel of the answer is computed from, (voxels, d * h * w * C), and the answer's sides."""
    x = x.permute(0, 2, 3, 4, 1)
    for axis, side in enumerate(kernel, start=1):
        x = x.unfold(axis, side, 1)  # (B, D', H', W', C, d, h, w) in the end
    return x.permute(0, 1, 2, 3, 5, 6, 7, 4).reshape(x.shape[:4].numel(), -1), tuple(x.shape[1:4])


def _kernels(weight: Tensor) -> Tensor:
    return _channels_last(weight).to(torch.bfloat16)


def _seen(place: tuple[int, ...], sides: torch.Size) -> list[slice]:
    """Where the kernels' weights at ``place`` meet the maps."""
    return [slice(at, at + side) for at, side in zip(place, sides, strict=True)]


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1).contiguous()


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 4, 1, 2, 3)
