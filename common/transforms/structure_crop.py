"""Random patches around structures, whatever their size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from monai.transforms import MapTransform, Randomizable, SpatialCrop
from monai.utils import convert_to_numpy
from torch import Tensor

from common.classes import IGNORED

__all__ = ["RandStructureCropd"]


class RandStructureCropd(Randomizable, MapTransform):
    """Crop a patch whose center lies in a structure, of those that the label has each equally likely, or anywhere.

    A patch is moved inside the volume, so that the center of one near the rim may lie elsewhere. Unlike MONAI's crops
    by class it reads the classes of a label's first channel, so that distance maps may follow behind.

    Args:
        keys: items of shape ``(C, D, H, W)``, all on one grid, no side shorter than the patch's.
        label_key: the label, whose first channel holds classes.
        patch: sides of the patch in voxels, (D, H, W).
        center_fraction: 0 to 1, the probability that the center is one of a structure's voxels.

    Raises:
        ValueError: for a fraction outside 0 to 1.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        label_key: Hashable = "label",
        patch: Sequence[int],
        center_fraction: float,
    ) -> None:
        super().__init__(keys)
        if not 0 <= center_fraction <= 1:
            raise ValueError(f"center_fraction must be a number from 0 to 1, got {center_fraction}")
        self.label_key = label_key
        self.patch = tuple(patch)
        self.center_fraction = center_fraction

    def randomize(self, label: Tensor) -> tuple[int, ...]:
        """The first voxel of a patch of a label ``(C, D, H, W)``."""
        classes = convert_to_numpy(label)[0]
        last = [max(0, n - p) for n, p in zip(classes.shape, self.patch, strict=True)]
        if self.R.random() < self.center_fraction and any(last):
            present = np.setdiff1d(np.unique(classes), [0, IGNORED])
            if len(present):
                voxels = np.flatnonzero(classes == self.R.choice(present))
                center = np.unravel_index(voxels[self.R.randint(len(voxels))], classes.shape)
                return tuple(int(np.clip(c - p // 2, 0, n)) for c, p, n in zip(center, self.patch, last, strict=True))
        return tuple(int(self.R.randint(n + 1)) for n in last)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        start = self.randomize(out[self.label_key])
        crop = SpatialCrop(roi_start=start, roi_end=[a + p for a, p in zip(start, self.patch, strict=True)])
        for key in self.key_iterator(out):
            out[key] = crop(out[key])
        return out
