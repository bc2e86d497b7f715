"""What a cohort's metrics come to: missed structures are counted, never silently dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["summarise"]


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Statistics per structure and metric over the cases' rows of :func:`~common.metrics.case_metrics`.

    Args:
        rows: rows of all cases; their other items (texts, ``missed``) are passed over.

    Returns:
        structure -> metric -> ``mean``, ``sd`` (of the sample, n - 1), ``median``, ``min``, ``max``, each None where
        there are too few values; ``n``, the number of cases they are taken over; ``n_missed``, the number of
        cases left out because one of the two masks is empty and so the distance infinite.
    """
    summary: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for structure in dict.fromkeys(row["structure"] for row in rows):
        own = [row for row in rows if row["structure"] == structure]
        metrics = [key for key, value in own[0].items() if isinstance(value, float)]
        summary[structure] = {metric: _statistics([row[metric] for row in own]) for metric in metrics}
    return summary


def _statistics(values: Sequence[float]) -> dict[str, float | int | None]:
    finite = np.array([v for v in values if math.isfinite(v)])
    n = len(finite)
    return {
        "mean": float(finite.mean()) if n else None,
        "sd": float(finite.std(ddof=1)) if n > 1 else None,
        "median": float(np.median(finite)) if n else None,
        "min": float(finite.min()) if n else None,
        "max": float(finite.max()) if n else None,
        "n": n,
        "n_missed": len(values) - n,
    }
