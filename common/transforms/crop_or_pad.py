"""Bring volumes to one size, centered as TorchIO does it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, InvertibleTransform, MapTransform, ResizeWithPadOrCrop, SpatialPad
from monai.utils import ensure_tuple_rep, fall_back_tuple
from torch import Tensor

__all__ = ["CropOrPadd"]


class CropOrPadd(MapTransform, InvertibleTransform):
    """Crop or pad every axis to ``spatial_size``; of an odd difference the larger half goes to the start of the axis.

    That is TorchIO's ``CropOrPad``; :class:`monai.transforms.ResizeWithPadOrCropd` puts the smaller half there, one
    voxel away. Undone by ``Invertd``: what was cropped away comes back as 0.

    Args:
        keys: items of shape ``(C, *spatial)``.
        spatial_size: sides in voxels; an axis of -1 stays as it is.
        value: what is padded, one for all keys or each; for CT before windowing -1024 HU (air) for the image and 0 for
            the label, 0 for both in the liver U-Net's original.

    Example::

        >>> CropOrPadd(["image", "label"], [256, 256, 200], value=[-1024, 0])
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        spatial_size: Sequence[int],
        *,
        value: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(keys)
        self.value = ensure_tuple_rep(value, len(self.keys))
        self.resize = ResizeWithPadOrCrop(spatial_size)
        self.resize.padder, self.resize.cropper = _Pad(spatial_size), _Crop(spatial_size)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key, value in self.key_iterator(out, self.value):
            out[key] = self.resize(out[key], value=value)
        return out

    def inverse(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Back to the size before; needs the trace that ``__call__`` left in the items."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.resize.inverse(out[key])
        return out


class _Pad(SpatialPad):
    def compute_pad_width(self, spatial_shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
        missing = [max(s - n, 0) for s, n in zip(self.spatial_size, spatial_shape, strict=True)]
        return ((0, 0), *((m - m // 2, m // 2) for m in missing))


class _Crop(CenterSpatialCrop):
    def compute_slices(self, spatial_size: Sequence[int]) -> tuple[slice, ...]:
        wanted = fall_back_tuple(self.roi_size, spatial_size)
        excess = [max(n - s, 0) for s, n in zip(wanted, spatial_size, strict=True)]
        return tuple(slice(e - e // 2, n - e // 2) for e, n in zip(excess, spatial_size, strict=True))
