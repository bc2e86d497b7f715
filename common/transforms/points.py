"""Points of a volume, drawn for OSS-Net (Reich et al., BMVC 2021), and what a network should say at them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from common.classes import IGNORED
from common.transforms.structure_masks import channels_of_label

__all__ = ["SamplePointsd"]

ATTEMPTS = 20  # draws from a volume before its known voxels are listed


class SamplePointsd(Randomizable, MapTransform):
    """Draw points, and replace the label by its values there and at low resolution.

    A fraction of the points is drawn without replacement near the surfaces of the structures, an equal part near each
    so that small ones are seen, the others uniformly from the whole grid, with replacement; of a border smaller than
    its part all is taken, and uniform points make up for it. (The authors' code never draws the last index of an axis;
    here it is drawn as often as any.) Voxels that nobody labeled are never drawn. What reaches the device does not grow
    with the label's resolution.

    Args:
        keys: key of the label, ``(1, D, H, W)``.
        points: N, how many.
        values: the label values of each of the K channels of the network.
        ignore: the value of voxels that nobody labeled.
        low_shape: (d, h, w) of the auxiliary segmentation, whose voxels are those of the label pooled by the maximum;
            None where the network has no such output.
        border_fraction: fraction of the points from the border map, from 0 to 1.
        border_key: key of the border map, ``(S, D, H, W)`` of S structures, which is taken out; not needed without a
            fraction.
        points_key: key of the points.

    Shape:
        points ``(N, 3)``, int32, voxel indices; label ``(K, N + w)``, uint8, 0 or 1: at the points, and behind them in
        the low-resolution voxels, flattened. 255: not known, as a low-resolution voxel is where a part of it is not
        labeled and no other holds the channel.

    Raises:
        ValueError: for a label of several channels, or a border map of another shape.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable = "label",
        *,
        points: int,
        values: Sequence[Sequence[int]],
        ignore: int | None = None,
        low_shape: Sequence[int] | None = None,
        border_fraction: float = 0.0,
        border_key: Hashable = "border",
        points_key: Hashable = "points",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.points = points
        self.values = [list(own) for own in values]
        self.ignore = ignore
        self.low_shape = None if low_shape is None else tuple(low_shape)
        self.border_fraction = border_fraction
        self.border_key = border_key
        self.points_key = points_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        border = out.pop(self.border_key, None)
        for key in self.key_iterator(out):
            label = torch.Tensor.as_subclass(torch.as_tensor(out[key]), torch.Tensor)
            self._check(label, border, key)
            points = self._draw(label[0], border)
            out[self.points_key] = torch.from_numpy(points.astype(np.int32))
            out[key] = self._target(label[0], points)
        return out

    def _check(self, label: Tensor, border: Tensor | None, key: Hashable) -> None:
        if label.shape[0] != 1:
            raise ValueError(f"SamplePointsd: '{key}' must have one channel, got {label.shape[0]}")
        if self.border_fraction and (border is None or border.shape[1:] != label.shape[1:]):
            found = "is missing" if border is None else f"is {tuple(border.shape)}"
            raise ValueError(
                f"SamplePointsd: '{self.border_key}' {found}, the label is {tuple(label.shape)}: make it with "
                f"BorderMapd, and give '{self.border_key}' to the transforms that move the label"
            )

    def _draw(self, label: Tensor, border: Tensor | None) -> np.ndarray:
        near = self._near(label, border)
        anywhere = self.R.randint(0, label.shape, size=(self.points - len(near), 3))
        if self.ignore is not None:
            anywhere = self._known(anywhere, label)
        points = np.concatenate([near, anywhere])
        self.R.shuffle(points)
        return points

    def _near(self, label: Tensor, border: Tensor | None) -> np.ndarray:
        """Points near the surfaces, as many for each structure that has one."""
        wanted = math.floor(self.points * self.border_fraction)
        if border is None or not wanted:
            return np.zeros((0, 3), dtype=np.int64)
        bands = [torch.as_tensor(band).numpy() != 0 for band in border]
        if self.ignore is not None:
            bands = [band & (label.numpy() != self.ignore) for band in bands]
        places = [flat for flat in map(np.flatnonzero, bands) if len(flat)]
        drawn = [np.zeros(0, dtype=np.int64)]
        for part, flat in enumerate(places):
            count = wanted * (part + 1) // len(places) - wanted * part // len(places)
            drawn.append(self.R.choice(flat, count, replace=False) if len(flat) > count else flat)
        return np.stack(np.unravel_index(np.concatenate(drawn), label.shape), axis=1)

    def _known(self, points: np.ndarray, label: Tensor) -> np.ndarray:
        """The points, those in voxels that nobody labeled drawn anew; all where no voxel is labeled."""
        volume = label.numpy()
        for _ in range(ATTEMPTS):
            (unknown,) = np.nonzero(volume[tuple(points.T)] == self.ignore)
            if not len(unknown):
                return points
            points[unknown] = self.R.randint(0, volume.shape, size=(len(unknown), 3))
        (unknown,) = np.nonzero(volume[tuple(points.T)] == self.ignore)
        known = np.flatnonzero(volume != self.ignore)
        if len(known) and len(unknown):
            points[unknown] = np.stack(np.unravel_index(self.R.choice(known, len(unknown)), volume.shape), axis=1)
        return points

    def _target(self, label: Tensor, points: np.ndarray) -> Tensor:
        z, y, x = torch.from_numpy(points).T
        here = channels_of_label(label[z, y, x], self.values, self.ignore)  # (K, N)
        if self.low_shape is None:
            return here
        rows = []
        for own in self.values:
            (mask,) = channels_of_label(label, [own])
            row = self._pooled(mask == 1)
            if self.ignore is not None:
                row[(row == 0) & (self._pooled(label == self.ignore) == 1)] = IGNORED
            rows.append(row)
        return torch.cat([here, torch.stack(rows)], dim=1)

    def _pooled(self, mask: Tensor) -> Tensor:
        """Which low-resolution voxels hold a voxel of the mask: uint8 ``(w,)``."""
        return F.adaptive_max_pool3d(mask[None].float(), self.low_shape).flatten().to(torch.uint8)
