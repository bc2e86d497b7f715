"""The fraction of an organ that a disease takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common.metrics.masks import checked_pair, mask_of

__all__ = ["Burden"]


class Burden:
    """Volume of a structure as a fraction of another's, such as tumor of liver; a :class:`~common.metrics.Measure`.

    Args:
        part: label value of the structure, or several that make it up together.
        whole: those of the other, the part's included: liver with its tumors is [1, 2].
        name: of the table.
    """

    def __init__(self, part: int | Sequence[int], whole: int | Sequence[int], *, name: str = "burden") -> None:
        self.part = part
        self.whole = whole
        self.name = name

    def per_case(
        self,
        prediction: np.ndarray | torch.Tensor,
        reference: np.ndarray | torch.Tensor,
        *,
        spacing: Sequence[float],
    ) -> list[dict[str, Any]]:
        """One row: ``burden_prediction``, ``burden_reference`` (0..1) and their difference, ``burden_error``.

        ``burden_error`` is prediction minus reference. Where the whole is empty, its fraction is NaN.

        Args:
            prediction: label map (D, H, W).
            reference: label map of the same shape and axes.
            spacing: voxel size in mm, in the order of the axes.
        """
        predicted, true, _ = checked_pair(prediction, reference, spacing)
        fractions = [self._fraction(labels) for labels in (predicted, true)]
        return [
            {
                "burden_prediction": fractions[0],
                "burden_reference": fractions[1],
                "burden_error": fractions[0] - fractions[1],
            },
        ]

    def summary(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """``rmse``, ``mean_absolute_error``, ``bias`` (the mean error) and ``max_absolute_error`` over ``n`` cases.

        ``n_missed`` cases, in which one of the two holds nothing of the whole, are left out.
        """
        errors = np.array([row["burden_error"] for row in rows if math.isfinite(row["burden_error"])])
        n = len(errors)
        return {
            "rmse": float(np.sqrt(np.mean(errors**2))) if n else None,
            "mean_absolute_error": float(np.abs(errors).mean()) if n else None,
            "max_absolute_error": float(np.abs(errors).max()) if n else None,
            "bias": float(errors.mean()) if n else None,
            "n": n,
            "n_missed": len(rows) - n,
        }

    def _fraction(self, labels: np.ndarray) -> float:
        part, whole = (int(np.count_nonzero(mask_of(labels, values))) for values in (self.part, self.whole))
        return part / whole if whole else math.nan
