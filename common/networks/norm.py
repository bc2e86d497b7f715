"""Instance normalisation that is quick where volumes are stored channels last, and the choice of normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["InstanceNorm", "norm_layer"]

ADDENDS = 4096  # of one sum: few enough to add up one after the other in float32
SUMS = 8192  # that a core keeps in its cache


def norm_layer(norm: str | Sequence, channels: int) -> nn.Module:
    """Normalisation of 3-D maps of ``channels`` channels, named as in MONAI: ``"instance"``, ``"batch"``,
    ``["group", {"num_groups": 4}]``. The plain ``"instance"`` is :class:`InstanceNorm`.
    """
    if isinstance(norm, str) and norm.lower() == "instance":
        return InstanceNorm()
    norm = norm if isinstance(norm, str) else tuple(norm)
    return get_norm_layer(norm, spatial_dims=3, channels=channels)


class InstanceNorm(nn.Module):
    """Instance normalisation without parameters, ``(x - mean) / sqrt(var + eps)``, of every map by itself.

    The numbers of :class:`torch.nn.InstanceNorm3d`, which copies maps stored channels last to contiguous memory, and
    leaves them there for the next convolution to copy back. On a CPU this layer normalises them where they are, with
    torch's kernels of batch normalisation, sample by sample, and keeps what torch keeps for the gradient: the input and
    two numbers per map. Statistics are float32 (float64 for float64). Elsewhere it is torch's layer.

    Like ``nn.ReLU(inplace=True)`` it may overwrite its input, and does so where no gradient is recorded: put it behind
    a convolution.

    Args:
        eps: added to the variance.

    Shape:
        ``(B, C, D, H, W)`` to the same, in the same memory format and type.

    Raises:
        ValueError: for maps of a single voxel, as torch does.
    """

    def __init__(self, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():
            return F.instance_norm(x, eps=self.eps)
        return _instance_norm(x, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


def _instance_norm(x: Tensor, eps: float) -> Tensor:
    exported = torch.jit.is_tracing() or torch.compiler.is_compiling()
    if exported or not _stored_channels_last_on_cpu(x):
        return F.instance_norm(x, eps=eps)
    if torch.is_grad_enabled() and x.requires_grad:
        return _ChannelsLastInstanceNorm.apply(x, eps)
    _normalise(x, eps, out=x)
    return x


def _stored_channels_last_on_cpu(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16, torch.float64)
        and x.dim() == 5
        and x.shape[2:].numel() > 1
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )


def _normalise(x: Tensor, eps: float, *, out: Tensor) -> tuple[Tensor, Tensor]:
    """Write the normalised ``x`` to ``out``, which may be ``x``; returns means and 1 / sqrt(var + eps), both (B, C)."""
    with torch._C.DisableTorchFunctionSubclass():  # MONAI's MetaTensor would look at every step
        mean, var = zip(*(_statistics(sample) for sample in x), strict=True)
        for i in range(len(x)):
            sample, result = x[i : i + 1], out[i : i + 1]
            unused = torch.empty_like(mean[i]), torch.empty_like(mean[i])
            torch.native_batch_norm(sample, None, None, mean[i], var[i], False, 0.0, eps, out=(result, *unused))
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
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        out = torch.empty_like(x)
        ctx.save_for_backward(x, *_normalise(x, eps, out=out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, mean, inverse_std = ctx.saved_tensors
        with torch._C.DisableTorchFunctionSubclass():
            gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
            parts = [
                torch.ops.aten.native_batch_norm_backward(
                    gradient[i : i + 1],
                    x[i : i + 1],
                    None,
                    None,
                    None,
                    mean[i],
                    inverse_std[i],
                    True,
                    0.0,
                    [True, False, False],
                )[0]
                for i in range(len(x))
            ]
            return (parts[0] if len(parts) == 1 else torch.cat(parts)), None
