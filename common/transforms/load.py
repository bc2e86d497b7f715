"""Volumes from their files: every channel on one grid, and in the order that the network expects."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform

from common.files import files_of
from common.transforms.readers import VolumeReader

__all__ = ["LoadVolumed", "grid_faults"]

AFFINE_TOLERANCE = 1e-3  # of the smallest voxel side


class LoadVolumed(MapTransform):
    """Load volumes as (C, X, Y, Z) float32, as their files store them.

    Args:
        keys: items that hold a file in any format that MONAI's readers know, a folder of one DICOM series, or a list of
            files, one for each channel. The ``meta`` of such a list is that of its first file.
        channel_order: the stored channels in the order of the result; as many must there be.
        label_key: of ``keys``, the one that has a single channel whatever the others have.

    Raises:
        ValueError: for what is no 3-D volume, has another number of channels, or has channels on different grids; the
            file is named.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        channel_order: Sequence[int] = (0,),
        label_key: Hashable = "label",
    ) -> None:
        super().__init__(keys)
        if sorted(channel_order) != list(range(len(channel_order))):
            raise ValueError(f"channel_order must hold each of 0 to {len(channel_order) - 1} once, got {channel_order}")
        self.channel_order = list(channel_order)
        self.label_key = label_key
        self.load = LoadImage(image_only=True, ensure_channel_first=True)
        self.load.register(VolumeReader())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            order = [0] if key == self.label_key else self.channel_order
            out[key] = self._loaded(files_of(out[key]), order)
        return out

    def _loaded(self, files: list[str], order: list[int]) -> MetaTensor:
        volumes = [self.load(file) for file in files]
        for file, volume in zip(files, volumes, strict=True):
            size = " x ".join(map(str, volume.shape[1:]))
            if volume.ndim != 4 or 1 in volume.shape[1:]:
                raise ValueError(f"{file}: not a 3-D volume ({size} voxels)")
            expected = len(order) if len(files) == 1 else 1
            if len(volume) != expected:
                raise ValueError(f"{file}: has {len(volume)} channels, expected {expected}")
            faults = grid_faults(_grid(volume), _grid(volumes[0]), like=files[0])
            if faults:
                raise ValueError(f"{file}: {faults[0]}")
        if len(files) > 1 and len(files) != len(order):
            raise ValueError(f"{files[0]}: one of {len(files)} channels, expected {len(order)}")
        if len(order) == 1:
            return volumes[0]
        stored = volumes[0] if len(files) == 1 else torch.cat(volumes)  # (C, X, Y, Z)
        return MetaTensor(torch.Tensor.as_subclass(stored, torch.Tensor)[order], meta=volumes[0].meta)


def grid_faults(
    grid: tuple[Sequence[int], np.ndarray], expected: tuple[Sequence[int], np.ndarray], *, like: str
) -> list[str]:
    """How a grid differs from another: nothing where they are one, but for rounding.

    Args:
        grid: shape (X, Y, Z) and affine (4, 4), voxel to mm.
        expected: the other's.
        like: the other's name, for the text.
    """
    faults = []
    if tuple(grid[0]) != tuple(expected[0]):
        faults.append(f"shape {tuple(grid[0])} differs from {like}'s {tuple(expected[0])}")
    sides = np.linalg.norm(expected[1][:3, :3], axis=0)
    apart = np.abs(grid[1] - expected[1]).max()
    if not apart <= AFFINE_TOLERANCE * sides.min():
        faults.append(f"affine differs from {like}'s, by up to {apart:.4g} mm")
    return faults


def _grid(volume: MetaTensor) -> tuple[tuple[int, ...], np.ndarray]:
    return tuple(volume.shape[1:]), volume.affine.numpy()
