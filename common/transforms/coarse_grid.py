"""The coarse grids on which a locator works: the same code for its training and for its use."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep
from torch import Tensor

from common.classes import IGNORED, foreground
from common.transforms.aligned import resize_aligned

__all__ = ["CoarseGridd", "FixedGrid", "SpacingGrid", "coarse_shape", "pad_to_multiple", "resize_area", "spacing_of"]


def spacing_of(volume: Tensor) -> tuple[float, float, float]:
    """Voxel size in mm per axis of a ``(C, D, H, W)`` volume; 1 mm where it carries no affine."""
    if not isinstance(volume, MetaTensor):
        return (1.0, 1.0, 1.0)
    return tuple(float(s) for s in affine_to_spacing(volume.affine, r=3))


def coarse_shape(shape: Sequence[int], spacing: Sequence[float], coarse_spacing: Sequence[float]) -> tuple[int, ...]:
    """Sides of the coarse grid that covers the same field of view, at least one voxel each."""
    return tuple(max(1, round(n * s / c)) for n, s, c in zip(shape, spacing, coarse_spacing, strict=True))


def resize_area(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Average ``(C, D, H, W)`` over the voxels that each coarse voxel covers; float32 ``(C, *shape)``, a plain tensor.

    Averaging is its own anti-aliasing, and image and label land on the same grid (half-voxel centers), which the
    original's two resamplings do not.
    """
    plain = torch.as_tensor(volume)
    plain = plain.as_tensor() if isinstance(plain, MetaTensor) else plain
    return F.interpolate(plain[None].float(), size=tuple(shape), mode="area")[0]


class SpacingGrid:
    """Voxels of one size in mm, averaged over the volume's, and padded with zeros to the network's multiple.

    Args:
        spacing: mm of a coarse voxel, (D, H, W); (1.25, 2.5, 2.5) for the left atrium, which is the original's
            (0.5, 0.25, 0.25) of 0.625 mm.
        divisor: sides are padded at the far ends to multiples of this, and the longest to twice this at least: at the
            lowest resolution instance normalization needs more than one voxel.

    Called with a ``(C, D, H, W)`` volume (with its affine, for the voxel size) it returns the float32 ``(C, d, h, w)``
    on the coarse grid, and its sides without the padding.
    """

    def __init__(self, spacing: Sequence[float], *, divisor: int = 16) -> None:
        self.spacing = tuple(spacing)
        self.divisor = divisor

    def __call__(self, volume: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        shape = coarse_shape(volume.shape[1:], spacing_of(volume), self.spacing)
        coarse = pad_to_multiple(resize_area(volume, shape), self.divisor)
        if max(coarse.shape[1:]) == self.divisor > 1:
            coarse = F.pad(coarse, (0, self.divisor))
        return coarse, shape


class FixedGrid:
    """The whole volume on a fixed number of voxels, corners aligned: :func:`~common.transforms.resize_aligned`.

    Args:
        size: sides of the grid in voxels, one for all axes or (D, H, W); 160 in EfficientSegNet's coarse stage.

    Called with a ``(C, D, H, W)`` volume it returns the float32 ``(C, *size)``, and ``size``.
    """

    def __init__(self, size: Sequence[int] | int) -> None:
        self.size = ensure_tuple_rep(size, 3)

    def __call__(self, volume: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        return resize_aligned(volume.float(), self.size), self.size


class CoarseGridd(MapTransform):
    """Put volumes on the :class:`SpacingGrid` that a locator is trained on.

    Args:
        keys: items of shape ``(C, D, H, W)``, all on one grid; ``label`` becomes the union of its structures, where
            they fill half of a coarse voxel or more, else :data:`~common.classes.IGNORED`, where nobody labeled that
            much.
        spacing: mm of a coarse voxel, (D, H, W).
        divisor: sides are padded with zeros to multiples of this.

    The result is a plain tensor: nothing is inverted from the coarse grid; :class:`~common.inferers.Locator` maps boxes
    back.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        spacing: Sequence[float],
        divisor: int = 16,
    ) -> None:
        super().__init__(keys)
        self.grid = SpacingGrid(spacing, divisor=divisor)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self._label(out[key]) if key == "label" else self.grid(out[key])[0]
        return out

    def _label(self, label: Tensor) -> Tensor:
        ignored = label == IGNORED
        coarse = (self.grid(foreground(label))[0] >= 0.5).float()
        if ignored.any():
            coarse[(self.grid(ignored)[0] >= 0.5) & (coarse == 0)] = IGNORED
        return coarse


def pad_to_multiple(volume: Tensor, divisor: int, *, value: float = 0.0) -> Tensor:
    """Pad the far ends of ``(..., D, H, W)`` with ``value`` so that every side is a multiple of ``divisor``."""
    d, h, w = ((-n) % divisor for n in volume.shape[-3:])
    return F.pad(volume, (0, w, 0, h, 0, d), value=value)
