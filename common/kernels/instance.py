"""Instance normalization of maps stored channels last."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.channels_last import stored_channels_last_on_cpu
from common.kernels.switch import enabled

__all__ = ["instance_norm"]

ADDENDS = 4096  # of one sum: few enough to add up one after the other in float32
SUMS = 8192  # that a core keeps in its cache


def instance_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, inplace: bool = False
) -> Tensor:
    """``torch.nn.functional.instance_norm`` by the batch's own statistics, without a copy of maps stored channels last.

    Torch's function copies maps stored channels last to contiguous memory, and leaves them there for the next
    convolution to copy back. On a CPU they are normalized where they are, with torch's kernels of batch normalization,
    sample by sample, and what torch keeps is kept for the gradient: the input and two numbers per map. Statistics are
    float32 (float64 for float64).

    Args:
        x: maps (B, C, D, H, W), more than one voxel each.
        weight: (C,), or None.
        bias: (C,), or None.
        eps: added to the variance.
        inplace: where no gradient is recorded, the output may be written over the input.

    Returns:
        The same shape, memory format and type.

    Raises:
        ValueError: for maps of a single voxel, as torch does.
    """
    if torch.jit.is_scripting():
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return _instance_norm(x, weight, bias, eps, inplace)


def _instance_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, inplace: bool) -> Tensor:
    if not enabled() or not stored_channels_last_on_cpu(x):
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    trained = x.requires_grad or (weight is not None and weight.requires_grad)
    if torch.is_grad_enabled() and trained:
        return _ChannelsLastInstanceNorm.apply(x, weight, bias, eps)
    out = x if inplace else torch.empty_like(x)
    _normalize(x, weight, bias, eps, out=out)
    return out


def _normalize(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, *, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Write the normalized ``x`` to ``out``, which may be ``x``; returns means and 1 / sqrt(var + eps), both (B, C)."""
    with torch._C.DisableTorchFunctionSubclass():  # MONAI's MetaTensor would look at every step
        mean, var = zip(*(_statistics(sample) for sample in x), strict=True)
        for i in range(len(x)):
            sample, result = x[i : i + 1], out[i : i + 1]
            unused = torch.empty_like(mean[i]), torch.empty_like(mean[i])
            torch.native_batch_norm(sample, weight, bias, mean[i], var[i], False, 0.0, eps, out=(result, *unused))
        return torch.stack(mean), torch.rsqrt(torch.stack(var) + eps)


def _statistics(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel of one sample (C, D, H, W).

    torch's kernel adds voxel to voxel, which over millions of them loses digits of float32. So voxels are dealt to
    ``groups`` in turn (of which the kernel thinks as further channels), and mean and variance of the groups united.
    """
    voxels = sample.movedim(0, -1).flatten(0, 2)  # (DHW, C), a view
    channels = voxels.shape[1]
    groups = max(1, min(len(voxels) // ADDENDS, SUMS // channels))
    size = len(voxels) // groups
    dealt, rest = voxels[: size * groups], voxels[size * groups :]
    mean, var = _batch_statistics(dealt.view(size, groups * channels))
    means, variances = [mean.view(groups, channels)], [var.view(groups, channels)]
    fractions = [size / len(voxels)] * groups
    if len(rest):
        mean, var = _batch_statistics(rest)
        means, variances, fractions = (
            [*means, mean[None]],
            [*variances, var[None]],
            [*fractions, len(rest) / len(voxels)],
        )
    means, variances = torch.cat(means), torch.cat(variances)  # (groups, C)
    fraction = means.new_tensor(fractions)[:, None]
    mean = (fraction * means).sum(0)
    return mean, (fraction * (variances + (means - mean) ** 2)).sum(0)


def _batch_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the columns of (N, M), without a copy and for bfloat16 in float32."""
    dtype = torch.float64 if values.dtype is torch.float64 else torch.float32
    running = torch.zeros(values.shape[1], dtype=dtype), torch.ones(values.shape[1], dtype=dtype)  # wanted, not used
    return torch.batch_norm_update_stats(values, *running, 0.0)


class _ChannelsLastInstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        out = torch.empty_like(x)
        ctx.save_for_backward(x, weight, *_normalize(x, weight, bias, eps, out=out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        with torch._C.DisableTorchFunctionSubclass():
            gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
            parts = [
                torch.ops.aten.native_batch_norm_backward(
                    gradient[i : i + 1],
                    x[i : i + 1],
                    weight,
                    None,
                    None,
                    mean[i],
                    inverse_std[i],
                    True,
                    0.0,
                    wanted,
                )
                for i in range(len(x))
            ]
            maps, weights, biases = zip(*parts, strict=True)
            return (
                (maps[0] if len(maps) == 1 else torch.cat(maps)) if wanted[0] else None,
                torch.stack(weights).sum(0) if wanted[1] else None,
                torch.stack(biases).sum(0) if wanted[2] else None,
                None,
            )
