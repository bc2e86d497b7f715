"""Resizing with aligned corners: the first voxel lies on the first and the last on the last."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep
from torch import Tensor

__all__ = ["AlignedResized", "PerLabelResized", "resize_aligned"]

TIE = 1e-4  # a half-covered voxel counts as covered, though float32 places it 3e-5 of a voxel off


def resize_aligned(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear interpolation at the source coordinates ``i (S - 1) / (T - 1)``, without anti-aliasing.

    What EfficientSegNet is trained on, and what its answers come back by; ``scipy.ndimage.zoom`` of order 1 does the
    same.

    Args:
        volume: ``(C, D, H, W)``, of a floating-point type.
        shape: the new sides (D, H, W) in voxels.

    Returns:
        ``(C, *shape)``, a plain tensor of the same type on the same device.
    """
    plain = torch.Tensor.as_subclass(volume, torch.Tensor)
    if plain.shape[1:] == tuple(shape):
        return plain
    return torch.nn.functional.interpolate(plain[None], tuple(shape), mode="trilinear", align_corners=True)[0]


class AlignedResized(MapTransform):
    """Resize images to a fixed number of voxels: :func:`resize_aligned`; the affine follows.

    Args:
        keys: items of shape ``(C, D, H, W)``, of any type.
        shape: the new sides, one for all axes or (D, H, W).

    Returns:
        float32 of shape ``(C, *shape)``.
    """

    def __init__(self, keys: Sequence[Hashable] | Hashable, shape: Sequence[int] | int) -> None:
        super().__init__(keys)
        self.shape = ensure_tuple_rep(shape, 3)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = _with_affine(resize_aligned(out[key].float(), self.shape), out[key])
        return out


class PerLabelResized(MapTransform):
    """Resize label maps: each label's mask linearly as :class:`AlignedResized` does, then thresholded at half.

    Where several labels reach a half, the highest counts. Thin parts survive better than with the nearest neighbor. Of
    the masks only one is there at a time.

    Args:
        keys: label maps of shape ``(1, D, H, W)``, of an integer type.
        shape: the new sides, one for all axes or (D, H, W).
        labels: the values to keep, 1 to 255; others become background.

    Returns:
        uint8 of shape ``(1, *shape)``.
    """

    def __init__(
        self, keys: Sequence[Hashable] | Hashable, shape: Sequence[int] | int, *, labels: Sequence[int] = (1, 2, 3, 4)
    ) -> None:
        super().__init__(keys)
        self.shape = ensure_tuple_rep(shape, 3)
        self.labels = tuple(sorted(labels))

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            source = torch.Tensor.as_subclass(out[key], torch.Tensor)
            labels = torch.zeros((1, *self.shape), dtype=torch.uint8, device=source.device)
            for label in self.labels:
                mask = source == label
                if mask.any():
                    labels[resize_aligned(mask.float(), self.shape) >= 0.5 - TIE] = label
            out[key] = _with_affine(labels, out[key])
        return out


def _with_affine(resized: Tensor, source: Tensor) -> Tensor:
    """``resized`` as a MetaTensor where ``source`` is one: the first voxel stays where it is, the steps change."""
    if not isinstance(source, MetaTensor):
        return resized
    steps = [(s - 1) / max(t - 1, 1) for s, t in zip(source.shape[1:], resized.shape[1:], strict=True)]
    scale = torch.diag(torch.tensor([*steps, 1.0], dtype=source.affine.dtype))
    return MetaTensor(resized, meta={**source.meta, "affine": source.affine @ scale})
