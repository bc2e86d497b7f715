"""Instance normalisation that is quick where volumes are stored channels last, and the choice of normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from common.networks.channels_last import stored_channels_last_on_cpu

__all__ = ["InstanceNorm", "norm_layer"]

ADDENDS = 4096  # of one sum: few enough to add up one after the other in float32
SUMS = 8192  # that a core keeps in its cache


def norm_layer(norm: str | Sequence, channels: int) -> nn.Module:
    """Normalisation of 3-D maps of ``channels`` channels, for behind a convolution, named as in MONAI: ``"instance"``,
    ``["instance", {"affine": true}]``, ``"batch"``, ``["group", {"num_groups": 4}]``.

    ``"instance"`` is :class:`InstanceNorm`, in place.
    """
    name, arguments = (norm, {}) if isinstance(norm, str) else norm
    if name.lower() == "instance":
        return InstanceNorm(channels, inplace=True, **arguments)
    return get_norm_layer((name, arguments), spatial_dims=3, channels=channels)


class InstanceNorm(nn.InstanceNorm3d):
    """Instance normalisation, ``(x - mean) / sqrt(var + eps)`` of every map by itself, times ``weight`` plus ``bias``
    if it is affine.

    The numbers of :class:`torch.nn.InstanceNorm3d`, which copies maps stored channels last to contiguous memory, and
    leaves them there for the next convolution to copy back. On a CPU this layer normalises them where they are, with
    torch's kernels of batch normalisation, sample by sample, and keeps what torch keeps for the gradient: the input and
    two numbers per map. Statistics are float32 (float64 for float64). Elsewhere it is torch's layer.

    Args:
        num_features: channels C.
        eps: added to the variance.
        affine: learn a ``weight`` and a ``bias`` per channel.
        inplace: where no gradient is recorded, the output may be written over the input.

    Shape:
        ``(B, C, D, H, W)`` to the same, in the same memory format and type.

    Raises:
        ValueError: for maps of a single voxel, as torch does.
    """

    def __init__(self, num_features: int, *, eps: float = 1e-5, affine: bool = False, inplace: bool = False) -> None:
        super().__init__(num_features, eps=eps, affine=affine)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return _instance_norm(x, self.weight, self.bias, self.eps, self.inplace)


def _instance_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, inplace: bool) -> Tensor:
    exported = torch.jit.is_tracing() or torch.compiler.is_compiling()
    if exported or not stored_channels_last_on_cpu(x):
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    trained = x.requires_grad or (weight is not None and weight.requires_grad)
    if torch.is_grad_enabled() and trained:
        return _ChannelsLastInstanceNorm.apply(x, weight, bias, eps)
    out = x if inplace else torch.empty_like(x)
    _normalise(x, weight, bias, eps, out=out)
    return out


def _normalise(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, *, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Write the normalised ``x`` to ``out``, which may be ``x``; returns means and 1 / sqrt(var + eps), both (B, C)."""
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
    shares = [size / len(voxels)] * groups
    if len(rest):
        mean, var = _batch_statistics(rest)
        means, variances, shares = [*means, mean[None]], [*variances, var[None]], [*shares, len(rest) / len(voxels)]
    means, variances = torch.cat(means), torch.cat(variances)  # (groups, C)
    share = means.new_tensor(shares)[:, None]
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(0)


def _batch_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the columns of (N, M), without a copy and for bfloat16 in float32."""
    dtype = torch.float64 if values.dtype is torch.float64 else torch.float32
    running = torch.zeros(values.shape[1], dtype=dtype), torch.ones(values.shape[1], dtype=dtype)  # wanted, not used
    return torch.batch_norm_update_stats(values, *running, 0.0)


class _ChannelsLastInstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        out = torch.empty_like(x)
        ctx.save_for_backward(x, weight, *_normalise(x, weight, bias, eps, out=out))
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
