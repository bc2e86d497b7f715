"""Convolution of small patches as one matrix product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common.kernels.switch import enabled

__all__ = ["patch_conv", "patch_conv_index"]


def patch_conv(x: Tensor, weight: Tensor, bias: Tensor, index: Tensor) -> Tensor:
    """Convolution of patches with a kernel of their own odd side, which keeps the size.

    Every output voxel sees the whole patch, so the convolution is a matrix of n^3 x n^3 for each pair of channels, made
    of the weights. For thousands of patches of few channels that is faster than a convolution.

    Args:
        x: patches (N, I * n^3), flattened.
        weight: (O, I, n, n, n).
        bias: (O,).
        index: :func:`patch_conv_index` of n.

    Returns:
        (N, O * n^3).
    """
    if torch.jit.is_scripting():
        return _as_matrix(x, weight, bias, index)
    return _quicker(x, weight, bias, index)


def _quicker(x: Tensor, weight: Tensor, bias: Tensor, index: Tensor) -> Tensor:
    if enabled() or torch.compiler.is_exporting() or torch.jit.is_tracing():  # networks are exported as matrices too
        return _as_matrix(x, weight, bias, index)
    patches = x.view(len(x), *weight.shape[1:])
    return F.conv3d(patches, weight, bias, padding=weight.shape[-1] // 2).flatten(1)


def _as_matrix(x: Tensor, weight: Tensor, bias: Tensor, index: Tensor) -> Tensor:
    outputs, inputs = weight.shape[0], weight.shape[1]
    n = weight[0, 0].numel()
    padded = F.pad(weight.flatten(2), (0, 1))  # (O, I, n^3 + 1), the last is 0
    matrix = padded[:, :, index].view(outputs, inputs, n, n)
    matrix = matrix.transpose(1, 2).reshape(outputs * n, inputs * n)
    return F.linear(x, matrix, bias.repeat_interleave(n))


def patch_conv_index(side: int) -> Tensor:
    """The weight that joins every output voxel of a patch with every input voxel: (side^6,), int64.

    Args:
        side: n, of patch and kernel, odd. Voxels that no weight joins have the index n^3.
    """
    place = torch.arange(side)
    tap = place[None, :] - place[:, None] + side // 2  # (output, input), the weight that joins them
    ok, tap = (tap >= 0) & (tap < side), tap.clamp(0, side - 1)
    z, y, x = (slice(None), None, None) * 2, (None, slice(None), None) * 2, (None, None, slice(None)) * 2
    index = (tap[z] * side + tap[y]) * side + tap[x]  # (n, n, n, n, n, n)
    return torch.where(ok[z] & ok[y] & ok[x], index, side**3).reshape(-1)
