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

__all__ = ["SamplePointsd"]


class SamplePointsd(Randomizable, MapTransform):
    """Draw points, and replace the label by its values there and at low resolution.

    A fraction of the points is drawn without replacement from a border map, the others uniformly from the whole grid,
    with replacement; of a border smaller than its fraction all is taken. (The authors' code never draws the last index
    of an axis; here it is drawn as often as any.) What reaches the device does not grow with the label's resolution.

    Args:
        keys: key of the label, ``(1, D, H, W)``: object where > 0, or classes 0 to ``out_channels - 1``.
        points: N, how many.
        low_shape: (d, h, w) of the auxiliary segmentation, whose voxels are those of the label pooled by the maximum;
            None where the network has no such output.
        out_channels: K: 1 for one structure, else the number of classes with the background.
        border_fraction: fraction of the points from the border map, from 0 to 1.
        border_key: key of the border map, ``(1, D, H, W)``, which is taken out; not needed without a fraction.
        points_key: key of the points.

    Shape:
        points ``(N, 3)``, int32, voxel indices; label ``(K, N + w)``, uint8, 0 or 1: at the points, and behind them in
        the low-resolution voxels, flattened.

    Raises:
        ValueError: for a label of several channels, a value that is no class, or a border map of another shape.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable = "label",
        *,
        points: int,
        low_shape: Sequence[int] | None = None,
        out_channels: int = 1,
        border_fraction: float = 0.0,
        border_key: Hashable = "border",
        points_key: Hashable = "points",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.points = points
        self.low_shape = None if low_shape is None else tuple(low_shape)
        self.out_channels = out_channels
        self.border_fraction = border_fraction
        self.border_key = border_key
        self.points_key = points_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        border = out.pop(self.border_key, None)
        for key in self.key_iterator(out):
            label = torch.Tensor.as_subclass(torch.as_tensor(out[key]), torch.Tensor)
            self._check(label, border, key)
            points = self._draw(label.shape[1:], border)
            out[self.points_key] = torch.from_numpy(points.astype(np.int32))
            out[key] = self._target(label[0], points)
        return out

    def _check(self, label: Tensor, border: Tensor | None, key: Hashable) -> None:
        if label.shape[0] != 1:
            raise ValueError(f"SamplePointsd: '{key}' must have one channel, got {label.shape[0]}")
        if self.border_fraction and (border is None or border.shape != label.shape):
            found = "is missing" if border is None else f"is {tuple(border.shape)}"
            raise ValueError(
                f"SamplePointsd: '{self.border_key}' {found}, the label is {tuple(label.shape)}: make it with "
                f"BorderMapd, and give '{self.border_key}' to the transforms that move the label"
            )
        if self.out_channels > 1 and int(label.max()) >= self.out_channels:
            raise ValueError(
                f"SamplePointsd: '{key}' has the value {int(label.max())}, expected classes 0 to "
                f"{self.out_channels - 1}; map its values before"
            )

    def _draw(self, shape: Sequence[int], border: Tensor | None) -> np.ndarray:
        near = np.zeros((0, 3), dtype=np.int64)
        wanted = math.floor(self.points * self.border_fraction)
        if wanted:
            band = np.flatnonzero(torch.as_tensor(border).numpy())
            if len(band) > wanted:
                band = self.R.choice(band, wanted, replace=False)
            near = np.stack(np.unravel_index(band, shape), axis=1)
        anywhere = self.R.randint(0, shape, size=(self.points - len(near), 3))
        points = np.concatenate([near, anywhere])
        self.R.shuffle(points)
        return points

    def _target(self, label: Tensor, points: np.ndarray) -> Tensor:
        z, y, x = torch.from_numpy(points).T
        here = label[z, y, x]
        rows = []
        for channel in range(self.out_channels):
            chosen = (label > 0) if self.out_channels == 1 else (label == channel)
            at_points = (here > 0) if self.out_channels == 1 else (here == channel)
            row = [at_points]
            if self.low_shape is not None:
                row.append(F.adaptive_max_pool3d(chosen[None].float(), self.low_shape).flatten() > 0)
            rows.append(torch.cat(row))
        return torch.stack(rows).to(torch.uint8)
