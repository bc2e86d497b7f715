"""What all metrics start from: two label maps of one case, and the masks of their structures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["checked_pair", "mask_of"]


def checked_pair(
    prediction: np.ndarray | torch.Tensor, reference: np.ndarray | torch.Tensor, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Prediction and reference as arrays (D, H, W), and the voxel's size as numbers of mm.

    Raises:
        TypeError: if one of the two holds fractions.
        ValueError: if the shapes differ or are not 3-D, or a spacing is not positive.
    """
    maps = _label_map(prediction, "prediction"), _label_map(reference, "reference")
    spacing = tuple(float(s) for s in spacing)
    if maps[0].shape != maps[1].shape or maps[0].ndim != 3:
        raise ValueError(f"prediction {maps[0].shape} and reference {maps[1].shape} must be 3-D and of one shape")
    if len(spacing) != 3 or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing must be three positive numbers of mm, got {spacing}")
    return *maps, spacing


def mask_of(labels: np.ndarray, values: int | Sequence[int]) -> np.ndarray:
    """Where ``labels`` holds one of ``values``."""
    first, *others = values if isinstance(values, Sequence) else [values]
    mask = labels == first
    for value in others:
        mask |= labels == value
    return mask


def _label_map(array: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    array = array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise TypeError(f"{name} holds fractions, expected label values: threshold probabilities first")
    return array
