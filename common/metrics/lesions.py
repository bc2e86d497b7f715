"""How many lesions are found, and how many of those found are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common.metrics.masks import checked_pair, mask_of

__all__ = ["LesionDetection"]

STRICT_IOU = 0.5
SIZES = {
    "all": (0.0, math.inf),
    "below_10_mm": (0.0, 10.0),
    "10_to_20_mm": (10.0, 20.0),
    "above_20_mm": (20.0, math.inf),
}


class LesionDetection:
    """Lesion-wise recall, precision and F1, pooled over the cases; a :class:`~common.metrics.Measure`.

    A lesion is a component of the mask, joined across faces, edges and corners (26 neighbors). Two criteria:

    - ``iou_above_0.5``: a lesion of one map counts where one of the other's overlaps it with an IoU above 0.5. More
      than one cannot, so lesions are matched in pairs.
    - ``any_overlap``: a single voxel in common is enough, and one lesion may match several.

    Recall is the fraction of the reference's lesions that count, precision that of the predicted ones, F1 their
    harmonic mean. The same by diameter, which is that of the sphere of equal volume in mm: below 10, from 10 to 20 and
    above 20; recall goes by the reference lesion's diameter, precision by the predicted one's.

    Args:
        values: label value of lesions, or several that make them up together.
        name: of the table.
    """

    def __init__(self, values: int | Sequence[int], *, name: str = "lesions") -> None:
        self.values = values
        self.name = name

    def per_case(
        self,
        prediction: np.ndarray | torch.Tensor,
        reference: np.ndarray | torch.Tensor,
        *,
        spacing: Sequence[float],
    ) -> list[dict[str, Any]]:
        """A row per lesion, the reference's first, each in decreasing volume.

        Args:
            prediction: label map (D, H, W).
            reference: label map of the same shape and axes.
            spacing: voxel size in mm, in the order of the axes.

        Returns:
            ``source`` (``reference`` or ``prediction``), ``lesion`` (1, 2, ... in its source), ``volume_mm3``,
            ``diameter_mm``, ``best_iou`` with a lesion of the other map, ``overlaps``: whether it shares a voxel with
            one.
        """
        *maps, spacing = checked_pair(prediction, reference, spacing)
        masks = [mask_of(labels, self.values) for labels in maps]
        box = _box(masks[0] | masks[1])  # lesions fill little of a volume
        predicted, true = (_components(mask[box]) for mask in masks)
        sizes_predicted, sizes_true = (np.bincount(c.ravel())[1:] for c in (predicted, true))
        shared = np.zeros((len(sizes_true), len(sizes_predicted)), np.int64)  # voxels of (true, predicted) in common
        both = (true > 0) & (predicted > 0)
        np.add.at(shared, (true[both] - 1, predicted[both] - 1), 1)
        iou = shared / np.maximum(sizes_true[:, None] + sizes_predicted - shared, 1)
        voxel = math.prod(spacing)
        return [
            *_rows("reference", sizes_true * voxel, iou),
            *_rows("prediction", sizes_predicted * voxel, iou.T),
        ]

    def summary(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Criterion -> size of the lesions -> ``recall``, ``precision``, ``f1`` and the counts they come from.

        A fraction of no lesions is None; F1 is 0 where only one of the two maps has lesions, None where neither has.
        """
        criteria = {
            "iou_above_0.5": lambda row: row["best_iou"] > STRICT_IOU,
            "any_overlap": lambda row: row["overlaps"],
        }
        return {
            name: {size: _scores([row for row in rows if _is_of_size(row, size)], counts) for size in SIZES}
            for name, counts in criteria.items()
        }


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The bounding box of a mask; nothing where it is empty."""
    from scipy.ndimage import find_objects

    boxes = find_objects(mask.view(np.uint8))
    return boxes[0] if boxes else (slice(0),) * mask.ndim


def _components(mask: np.ndarray) -> np.ndarray:
    """Numbers 1, 2, ... of the components of a mask, 0 elsewhere."""
    from scipy.ndimage import label

    return label(mask, structure=np.ones((3, 3, 3)))[0]


def _rows(source: str, volumes: np.ndarray, iou: np.ndarray) -> list[dict[str, Any]]:
    """Rows of lesions with their ``volumes`` (n,) in mm³ and their ``iou`` (n, m) with those of the other map."""
    best = iou.max(axis=1, initial=0)
    return [
        {
            "source": source,
            "lesion": number,
            "volume_mm3": float(volumes[i]),
            "diameter_mm": float(np.cbrt(6 * volumes[i] / math.pi)),
            "best_iou": float(best[i]),
            "overlaps": bool(best[i] > 0),
        }
        for number, i in enumerate(np.argsort(-volumes, kind="stable"), start=1)
    ]


def _is_of_size(row: dict[str, Any], size: str) -> bool:
    low, high = SIZES[size]
    diameter = row["diameter_mm"]
    return low <= diameter <= high if size == "10_to_20_mm" else low < diameter < high


def _scores(rows: Sequence[dict[str, Any]], counts: Any) -> dict[str, float | int | None]:
    n = {source: sum(row["source"] == source for row in rows) for source in ("reference", "prediction")}
    hits = {source: sum(row["source"] == source and counts(row) for row in rows) for source in n}
    recall, precision = (hits[source] / n[source] if n[source] else None for source in ("reference", "prediction"))
    f1 = 2 * recall * precision / (recall + precision) if recall and precision else (0.0 if rows else None)
    return {
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "n_reference": n["reference"],
        "n_reference_found": hits["reference"],
        "n_prediction": n["prediction"],
        "n_prediction_true": hits["prediction"],
    }
