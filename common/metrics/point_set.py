"""The score of OSS-Net's authors: overlap on points that are drawn, not on all voxels (their code)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common.metrics.masks import checked_pair
from common.transforms.borders import border_map

__all__ = ["PointSetOverlap"]

EPS = 1e-10


class PointSetOverlap:
    """Dice and IoU of the points that :class:`~common.transforms.SamplePointsd` would draw; a :class:`Measure`.

    Points drawn from the whole volume estimate the Dice of all voxels. Points of which a fraction lies within a few
    voxels of the surface give another number, lower as a rule, that says little about volumes: it is for comparison
    with what the authors published. As there, an empty prediction of an empty reference scores 0.

    They draw anew at every validation; here the points of a volume are the same ones always.

    Args:
        points: how many; 2^17 for BraTS, 2^14 for LiTS.
        border_fraction: fraction from the border map (:func:`common.transforms.borders.border_map`); 0 and 0.4.
        seed: of the points.
        name: of the table.
    """

    def __init__(
        self, *, points: int, border_fraction: float = 0.0, seed: int = 0, name: str = "point_set_overlap"
    ) -> None:
        self.points = points
        self.border_fraction = border_fraction
        self.seed = seed
        self.name = name

    def per_case(
        self,
        prediction: np.ndarray | torch.Tensor,
        reference: np.ndarray | torch.Tensor,
        *,
        spacing: Sequence[float],
    ) -> list[dict[str, Any]]:
        """One row: ``point_dice`` and ``point_iou`` (0..1), and how many points were ``occupied`` in the reference.

        Args:
            prediction: label map (D, H, W); all but 0 is the structure.
            reference: label map of the same shape and axes.
            spacing: voxel size in mm, in the order of the axes; distances do not enter.
        """
        predicted, true, _ = checked_pair(prediction, reference, spacing)
        drawn = self._draw(true)
        p, g = predicted.reshape(-1)[drawn] > 0, true.reshape(-1)[drawn] > 0
        both, size = int(np.count_nonzero(p & g)), int(np.count_nonzero(p)) + int(np.count_nonzero(g))
        return [
            {
                "point_dice": 2 * both / (size + EPS),
                "point_iou": both / (size - both + EPS),
                "occupied": int(np.count_nonzero(g)),
            }
        ]

    def summary(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """``dice`` and ``iou``, means over the ``n`` cases, and how the points were drawn."""
        n = len(rows)
        means = {name: math.fsum(row[f"point_{name}"] for row in rows) / n if n else None for name in ("dice", "iou")}
        return {**means, "n": n, "points": self.points, "border_fraction": self.border_fraction}

    def _draw(self, reference: np.ndarray) -> np.ndarray:
        """Flat indices of the points."""
        rng = np.random.default_rng(self.seed)
        near = np.zeros(0, dtype=np.int64)
        wanted = math.floor(self.points * self.border_fraction)
        if wanted:
            near = np.flatnonzero(border_map((reference > 0).astype(np.uint8)))
            if len(near) > wanted:
                near = rng.choice(near, wanted, replace=False)
        return np.concatenate([near, rng.integers(0, reference.size, self.points - len(near))])
