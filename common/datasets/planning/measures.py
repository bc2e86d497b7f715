"""What the training cases measure, for a plan: shapes, spacings, intensities of the foreground, volumes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from common.datasets.analysis_summary import suggest
from common.datasets.case_measures import measure_case

__all__ = ["MEASURED", "measured_cases", "summarize"]

MEASURED = 60  # cases at most: more of them move no median
THREADS = 2
PERCENTILE_NAMES = ("p0.5", "p5", "p25", "p50", "p75", "p95", "p99.5")

Measures = dict[str, Any]


def measured_cases(cases: Sequence[dict[str, Any]], *, channels: int) -> list[Measures]:
    """Measures of the cases, of 60 evenly spread ones where there are more.

    Args:
        cases: ``case``, ``image`` and ``label`` of each.
        channels: of every image.

    Raises:
        DataError: for a case that cannot be read, naming the file.
    """
    chosen = [cases[n] for n in np.linspace(0, len(cases) - 1, min(len(cases), MEASURED)).round().astype(int)]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda case: measure_case(case, channels=channels), chosen))


def summarize(measured: Sequence[Measures], names: Sequence[str]) -> dict[str, Any]:
    """The fingerprint of a data set, as a plan holds it.

    Args:
        measured: what :func:`measured_cases` gave.
        names: of the channels.

    Returns:
        ``cases``: how many were measured; ``shape`` (z, y, x) in voxels and ``spacing_mm``: ``median``, ``min`` and
        ``max`` along each axis; ``intensity``: channel -> ``mean``, ``sd``, ``p0.5``, ``median``, ``p99.5`` within the
        labels, means over the cases; ``volume_ml``: label value -> ``median``, ``min``, ``max`` and ``cases`` that have
        it; ``largest_part``: label value -> the fraction of its volume that its largest component has, 5th percentile
        over the cases; ``zero_fraction`` of the voxels, at least, in the median case; ``components``: see
        :func:`~common.datasets.analysis_summary.suggest`.
    """
    values = sorted({value for case in measured for value in case["labels"]}, key=int)
    volumes = {value: [c["labels"][value]["volume_ml"] for c in measured if value in c["labels"]] for value in values}
    return {
        "cases": len(measured),
        "shape": _spread([case["voxels"] for case in measured]),
        "spacing_mm": _spread([case["spacing_mm"] for case in measured]),
        "extent_mm": _spread([case["extent_mm"] for case in measured]),
        "intensity": {name: _intensity(measured, channel) for channel, name in enumerate(names)},
        "volume_ml": {value: {**_spread(own), "cases": len(own)} for value, own in volumes.items()},
        "largest_part": {value: _largest_part(measured, value) for value in values},
        "zero_fraction": _rounded(np.median([_zeros(case) for case in measured])),
        "components": suggest(measured)["components"],
    }


def _intensity(measured: Sequence[Measures], channel: int) -> dict[str, float]:
    """Statistics within the labels of every case, weighted by volume."""
    parts = [(label["volume_ml"], label["intensity"][channel]) for c in measured for label in c["labels"].values()]
    weights = np.array([volume for volume, _ in parts])
    keys = {"mean": "mean", "sd": "sd", "p0.5": "p0.5", "median": "p50", "p99.5": "p99.5"}
    return {
        name: _rounded(np.average([own[key] for _, own in parts], weights=weights)) if parts else 0.0
        for name, key in keys.items()
    }


def _largest_part(measured: Sequence[Measures], value: str) -> float:
    own = [case["labels"][value] for case in measured if value in case["labels"]]
    return _rounded(np.percentile([m["component_mm3"][0] / (1000 * m["volume_ml"]) for m in own], 5))


def _zeros(case: Measures) -> float:
    """The fraction of voxels that are 0 in the first channel, as far as its percentiles tell."""
    below = [0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995]
    return max(
        (p for p, name in zip(below, PERCENTILE_NAMES, strict=True) if case["intensity"][0][name] == 0), default=0
    )


def _spread(rows: Sequence[Any]) -> dict[str, Any]:
    array = np.asarray(rows, float)
    return {"median": _rounded(np.median(array, 0)), "min": _rounded(array.min(0)), "max": _rounded(array.max(0))}


def _rounded(numbers: Any) -> Any:
    if np.ndim(numbers):
        return [_rounded(number) for number in numbers]
    return float(f"{float(numbers):.5g}")
