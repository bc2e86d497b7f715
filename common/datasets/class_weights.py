"""Class weights that are derived from the training labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.classes import IGNORED
from common.datasets.cache import CachedDataset

__all__ = ["balanced_class_weights"]


def balanced_class_weights(
    cases: Sequence[Mapping[str, Any]],
    *,
    classes: int,
    transform: Callable | Sequence[Callable],
    cache_dir: str | Path | None = None,
) -> dict[str, list[float]]:
    """Weights ``total / (C * count_c)`` of the C classes, with the voxels of all labels together counted.

    The weight times the share of its class is 1 / C for all, and so ``sum(1 / (C * w_c))`` is 1: scikit-learn's
    "balanced" rule, as Vox2Vox's authors took it. For :func:`common.datasets.plan_recipe`.

    Args:
        cases: the training cases.
        classes: number of classes C, background included: the label holds 0 to C - 1.
        transform: deterministic dictionary transforms that load ``label`` (1, D, H, W) as training takes it, cropped to
            the brain, say: background outside the crop does not count. Neither do voxels that nobody labeled.
        cache_dir: that of the training, which then finds every case preprocessed; None keeps nothing.

    Returns:
        ``{"class_weights": [w_0, ...]}``.

    Raises:
        ValueError: for a label with other values, naming the case, and for classes without a voxel.
    """
    counts = np.zeros(classes, dtype=np.int64)
    for case, data in zip(cases, CachedDataset(cases, transform, cache_dir), strict=True):
        values, voxels = np.unique(np.asarray(data["label"]), return_counts=True)
        values, voxels = values[values != IGNORED], voxels[values != IGNORED]
        if not np.isin(values, np.arange(classes)).all():
            raise ValueError(
                f"{case['case']}: the label holds {values.tolist()} after preprocessing, expected 0 to {classes - 1}"
            )
        counts[values.astype(np.int64)] += voxels
    if not counts.all():
        missing = ", ".join(str(c) for c in np.flatnonzero(counts == 0))
        raise ValueError(
            f"no voxel of class {missing} in the labels of the {len(cases)} training cases: a class that cannot be "
            "learnt has no weight; train with more cases, or with fewer classes"
        )
    return {"class_weights": [float(w) for w in counts.sum() / (classes * counts)]}
