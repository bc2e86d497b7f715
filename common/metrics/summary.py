"""What a cohort's metrics come to: missed structures are counted, never silently dropped."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

__all__ = ["absent_references", "how_many", "pooled_overlap", "summarize"]

Rows = Sequence[dict[str, Any]]
Statistics = dict[str, float | int | None]


def summarize(rows: Rows, *, may_be_absent: Collection[str] = ()) -> dict[str, dict[str, Statistics]]:
    """Statistics per structure and metric over the cases' rows of :func:`~common.metrics.case_metrics`.

    Args:
        rows: rows of all cases; their other items (texts, counts, ``missed``) are passed over.
        may_be_absent: structures that healthy patients lack: theirs are taken over the cases whose reference holds
            them; :func:`absent_references` says what became of the others.

    Returns:
        structure -> metric -> ``mean``, ``sd`` (of the sample, n - 1), ``median``, ``min``, ``max``, each None where
        there are too few values; ``n``, the number of cases they are taken over; ``n_missed``, the number of
        cases left out because one of the two masks is empty and so the distance infinite.
    """
    summary: dict[str, dict[str, Statistics]] = {}
    for structure, own in _by_structure(rows).items():
        metrics = [key for key, value in own[0].items() if isinstance(value, float)]
        counted = [row for row in own if structure not in may_be_absent or row["voxels_reference"]]
        summary[structure] = {metric: _statistics([row[metric] for row in counted]) for metric in metrics}
    return summary


def how_many(rows: Rows, *, trained_on: bool) -> str:
    """The heading of a summary: how many cases it is of, where the weights were trained on some of them.

    Args:
        rows: rows of all cases, with ``case`` and ``trained_on``; empty text where the weights saw none of them.
        trained_on: whether the summary is of the cases that the weights were trained on, or of the others.
    """
    cases, seen = ({row["case"] for row in rows if row["trained_on"] or all_of} for all_of in (True, False))
    if not seen:
        return ""
    if trained_on:
        return f"{len(seen)} of {len(cases)} cases, which the weights were trained on: this flatters them"
    if seen == cases:
        return f"The weights were trained on all {len(cases)} cases: nothing here says how good they are on others"
    return f"{len(cases) - len(seen)} of {len(cases)} cases, which the weights were not trained on"


def absent_references(rows: Rows, structures: Collection[str]) -> dict[str, dict[str, Any]]:
    """What was predicted where the reference holds nothing, per structure.

    Returns:
        structure -> ``n_absent``, the number of cases without it; ``n_false_positive``, of these the number with a
        prediction; ``false_positive_volume_mm3``, statistics of its volume over these; ``dice_absent_counted``,
        statistics of the Dice over all cases, where an absent structure counts 1 if nothing is predicted, else 0.
    """
    summary = {}
    for structure, own in _by_structure(rows).items():
        if structure in structures:
            absent = [row for row in own if not row["voxels_reference"]]
            false = [row["volume_prediction_mm3"] for row in absent if row["voxels_prediction"]]
            summary[structure] = {
                "n_absent": len(absent),
                "n_false_positive": len(false),
                "false_positive_volume_mm3": _statistics(false),
                "dice_absent_counted": _statistics([row["dice"] for row in own]),
            }
    return summary


def pooled_overlap(rows: Rows) -> dict[str, dict[str, float]]:
    """Overlap of all cases' voxels taken as one, per structure: large structures count more.

    Returns:
        structure -> ``global_dice``, 2 Σ|P∩G| / Σ(|P|+|G|), and ``global_iou``; 1 where all masks are empty.
    """
    summary = {}
    for structure, own in _by_structure(rows).items():
        both = sum(row["voxels_both"] for row in own)
        size = sum(row["voxels_prediction"] + row["voxels_reference"] for row in own)
        summary[structure] = {
            "global_dice": 2 * both / size if size else 1.0,
            "global_iou": both / (size - both) if size else 1.0,
        }
    return summary


def _by_structure(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    structures: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        structures.setdefault(row["structure"], []).append(row)
    return structures


def _statistics(values: Sequence[float]) -> Statistics:
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
