"""Normalization layers, named as in MONAI."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

from common import kernels

__all__ = ["InstanceNorm", "norm_layer"]


def norm_layer(norm: str | Sequence, channels: int) -> nn.Module:
    """Normalization of 3-D maps of ``channels`` channels, for behind a convolution, named as in MONAI: ``"instance"``,
    ``["instance", {"affine": true}]``, ``"batch"``, ``["group", {"num_groups": 4}]``.

    ``"instance"`` is :class:`InstanceNorm`, in place.
    """
    name, arguments = (norm, {}) if isinstance(norm, str) else norm
    if name.lower() == "instance":
        return InstanceNorm(channels, inplace=True, **arguments)
    return get_norm_layer((name, arguments), spatial_dims=3, channels=channels)


class InstanceNorm(nn.InstanceNorm3d):
    """Instance normalization, ``(x - mean) / sqrt(var + eps)`` of every map by itself, times ``weight`` plus ``bias``
    if it is affine.

    The numbers of :class:`torch.nn.InstanceNorm3d`, computed by :func:`~common.kernels.instance_norm`.

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
        return kernels.instance_norm(x, self.weight, self.bias, self.eps, self.inplace)
