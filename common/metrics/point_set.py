"""The score of OSS-Net's authors: overlap on points that are drawn, not on all voxels (their code)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from common.metrics.masks import checked_pair, mask_of
from common.transforms.borders import border_map

__all__ = ["PointSetOverlap"]

EPS = 1e-10


class PointSetOverlap:
    """Dice and IoU of drawn points, structure by structure; a :class:`~common.metrics.Measure`.

    Points drawn from the whole volume estimate the Dice of all voxels. Points of which a fraction lies within a few
    voxels of the surface give another number, lower as a rule, that says little about volumes: it is for comparison
    with what the authors published. As there, an empty prediction of an empty reference scores 0.

    They draw anew at every validation; here the points of a volume are the same ones always.

    Args:
        labels: structure name -> its label value, or several that make it up together.
        points: how many; 2^17 for BraTS, 2^14 for LiTS.
        border_fraction: fraction from the structure's border map (:func:`common.transforms.borders.border_map`); 0 and
            0.4.
        seed: of the points.
        name: of the table.
    """

    def __init__(
        self,
        *,
        labels: Mapping[str, int | Sequence[int]],
        points: int,
        border_fraction: float = 0.0,
        seed: int = 0,
        name: str = "point_set_overlap",
    ) -> None:
        self.labels = dict(labels)
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
        """A row for each ``structure``: ``point_dice``, ``point_iou`` (0..1), points ``occupied`` in the reference.

        Args:
            prediction: label map (D, H, W).
            reference: label map of the same shape and axes.
            spacing: voxel size in mm, in the order of the axes; distances do not enter.
        """
        predicted, true, _ = checked_pair(prediction, reference, spacing)
        return [
            {"structure": name, **self._row(mask_of(predicted, values), mask_of(true, values))}
            for name, values in self.labels.items()
        ]

    def summary(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """``dice`` and ``iou`` of each structure, means over the ``n`` cases, and how the points were drawn."""
        structures = {}
        for structure in self.labels:
            own = [row for row in rows if row["structure"] == structure]
            n = len(own)
            scores = {name: math.fsum(row[f"point_{name}"] for row in own) for name in ("dice", "iou")}
            structures[structure] = {**{name: total / n if n else None for name, total in scores.items()}, "n": n}
        return {**structures, "points": self.points, "border_fraction": self.border_fraction}

    def _row(self, predicted: np.ndarray, true: np.ndarray) -> dict[str, Any]:
        drawn = self._draw(true)
        p, g = predicted.reshape(-1)[drawn], true.reshape(-1)[drawn]
        both, size = int(np.count_nonzero(p & g)), int(np.count_nonzero(p)) + int(np.count_nonzero(g))
        return {
            "point_dice": 2 * both / (size + EPS),
            "point_iou": both / (size - both + EPS),
            "occupied": int(np.count_nonzero(g)),
        }

    def _draw(self, reference: np.ndarray) -> np.ndarray:
        """Flat indices of the points."""
        rng = np.random.default_rng(self.seed)
        near = np.zeros(0, dtype=np.int64)
        wanted = math.floor(self.points * self.border_fraction)
        if wanted:
            near = np.flatnonzero(border_map(reference))
            if len(near) > wanted:
                near = rng.choice(near, wanted, replace=False)
        return np.concatenate([near, rng.integers(0, reference.size, self.points - len(near))])
