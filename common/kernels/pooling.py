"""Adaptive pooling that can be exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["adaptive_max_pool3d"]


def adaptive_max_pool3d(x: Tensor, shape: list[int]) -> Tensor:
    """``torch.nn.functional.adaptive_max_pool3d``; for ONNX, which has no such operator, made of maxima of slices.

    Args:
        x: (B, C, D, H, W).
        shape: (d, h, w) of the result.

    Returns:
        (B, C, d, h, w).
    """
    if torch.jit.is_scripting():
        return F.adaptive_max_pool3d(x, shape)
    return _exportable(x, shape)


def _exportable(x: Tensor, shape: list[int]) -> Tensor:
    return _by_cells(x, shape) if torch.compiler.is_exporting() else F.adaptive_max_pool3d(x, shape)


def _by_cells(x: Tensor, shape: list[int]) -> Tensor:
    for axis, cells in enumerate(shape, start=2):
        n = x.shape[axis]
        bounds = [(i * n // cells, -(-(i + 1) * n // cells)) for i in range(cells)]
        x = torch.stack([x.narrow(axis, a, b - a).amax(dim=axis) for a, b in bounds], dim=axis)
    return x
