"""What the cases' measures come to: distributions, and the numbers that a training may take from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["suggest", "summarize_cases"]

AXES = ("z", "y", "x")
WHOLE_PART = 0.1  # of a label's volume: a component as large is a part of the structure
TENTH = 0.1

Measures = dict[str, Any]


def summarize_cases(cases: Sequence[Measures]) -> dict[str, Any]:
    """Distributions over the cases' measures.

    Args:
        cases: what :func:`~common.datasets.case_measures.measure_case` returned, at least one.

    Returns:
        ``extent_mm``, ``spacing_mm``, ``voxels`` (each axis) and ``oblique_degrees`` as ``mean``, ``sd`` (n - 1),
        ``min``, ``p5``, ``p25``, ``median``, ``p75``, ``p95``, ``max``, ``n``; ``stored_axes`` and ``signs`` (z, y, x)
        with the number of cases; ``labels``: value -> ``missing`` (cases without it) and the distributions of its
        ``volume_ml``, ``shift_mm``, ``shift_from_all_mm``, ``axis_ratios``, ``components``, ``component_mm3`` and the
        cases' ``median_intensity`` (of each channel) over the cases that have it.
    """
    values = sorted({value for case in cases for value in case["labels"]}, key=int)
    grids = {key: _by_axis([case[key] for case in cases]) for key in ("extent_mm", "spacing_mm", "voxels")}
    return {
        "cases": len(cases),
        **grids,
        "oblique_degrees": _statistics([case["oblique_degrees"] for case in cases]),
        "stored_axes": dict(Counter(case["stored_axes"] for case in cases).most_common()),
        "signs": dict(Counter(" ".join(f"{sign:+d}" for sign in case["signs"]) for case in cases).most_common()),
        "labels": {value: _label(cases, value) for value in values},
    }


def suggest(cases: Sequence[Measures]) -> dict[str, Any]:
    """Component limits and a range of intensity shifts that follow from the data.

    *Component limits.* A label keeps as many components as, in the median case, hold at least a tenth of its volume
    each. Of these the smallest is taken in every case, and of these sizes the 5th percentile: a tenth of it is the
    label's limit (a prediction that holds but a tenth of a structure has a Dice of at most 0.18: nothing of worth is
    lost), rounded down to two digits. The smallest of the labels' limits goes for the fine network; half of it, as in
    FLARE 2021's winner (1000 and 2000 mm³), for the coarse one, where a miss costs more than a false finding.

    *Shift.* A structure of typical intensity (the median of the cases' medians) may be moved as far as the bulk of any
    case's structure lies: to the 5th percentile over the cases of their 5th percentiles, and to the 95th of their 95th.
    The largest distance over the labels, rounded up to two digits, is the range's half width (published: 200 HU). It is
    of the first channel.

    Args:
        cases: as for :func:`summarize_cases`.

    Returns:
        ``components``: label -> ``keep`` and ``min_mm3``; ``min_mm3``: ``coarse`` and ``fine``; ``shift``: lower and
        upper end. None, where there is no label.
    """
    values = sorted({value for case in cases for value in case["labels"]}, key=int)
    limits, reach = {}, 0.0
    for value in values:
        own = [case["labels"][value] for case in cases if value in case["labels"]]
        large = [sum(mm3 >= WHOLE_PART * 1000 * m["volume_ml"] for mm3 in m["component_mm3"]) for m in own]
        keep = max(1, math.floor(np.median(large) + 0.5))
        smallest = [m["component_mm3"][:keep][-1] for m in own]
        limits[value] = {"keep": keep, "min_mm3": _two_digits(TENTH * np.percentile(smallest, 5), math.floor)}
        low, middle, high = ([m["intensity"][0][fraction] for m in own] for fraction in ("p5", "p50", "p95"))
        typical = np.median(middle)
        reach = max(reach, np.percentile(high, 95) - typical, typical - np.percentile(low, 5))
    fine = min((limit["min_mm3"] for limit in limits.values()), default=None)
    half = _two_digits(reach, math.ceil)
    return {
        "components": limits,
        "min_mm3": {"coarse": None if fine is None else fine / 2, "fine": fine},
        "shift": [0.0 - half, half] if limits else None,
    }


def _label(cases: Sequence[Measures], value: str) -> dict[str, Any]:
    own = [case["labels"][value] for case in cases if value in case["labels"]]
    ratios = np.array([measures["axis_ratios"] for measures in own])
    return {
        "missing": [case["case"] for case in cases if value not in case["labels"]],
        "volume_ml": _statistics([measures["volume_ml"] for measures in own]),
        "shift_mm": _by_axis([measures["shift_mm"] for measures in own]),
        "shift_from_all_mm": _by_axis([measures["shift_from_all_mm"] for measures in own]),
        "axis_ratios": {"middle": _statistics(ratios[:, 0]), "shortest": _statistics(ratios[:, 1])},
        "components": _statistics([measures["components"] for measures in own]),
        "component_mm3": _statistics([mm3 for measures in own for mm3 in measures["component_mm3"]]),
        "median_intensity": [
            _statistics([measures["intensity"][channel]["p50"] for measures in own])
            for channel in range(len(own[0]["intensity"]))
        ],
    }


def _by_axis(triples: Sequence[Sequence[float]]) -> dict[str, dict[str, Any]]:
    return {axis: _statistics(column) for axis, column in zip(AXES, zip(*triples, strict=True), strict=True)}


def _statistics(values: Sequence[float]) -> dict[str, float | int | None]:
    array = np.asarray(values, float)
    fractions = dict(zip(("p5", "p25", "median", "p75", "p95"), np.percentile(array, (5, 25, 50, 75, 95)), strict=True))
    numbers = {"mean": array.mean(), "min": array.min(), **fractions, "max": array.max()}
    return {
        **{name: float(f"{number:.6g}") for name, number in numbers.items()},
        "sd": float(f"{array.std(ddof=1):.6g}") if len(array) > 1 else None,
        "n": len(array),
    }


def _two_digits(number: float, towards: Any) -> float:
    """``number``, not negative, with two digits, rounded by ``math.floor`` or ``math.ceil``."""
    if number <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(f"{towards(round(number / unit, 9)) * unit:.6g}")
