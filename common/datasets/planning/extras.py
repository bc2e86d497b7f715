"""What the plans of some bundles decide beyond grid, patch, intensities and schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from common.datasets.planning.occupancy import decide_occupancy
from common.datasets.planning.rules import Decisions

__all__ = ["EXTRAS"]

BACKGROUND_PATCHES = 0.2  # probability that a patch is centered on background
Decide = Callable[[Decisions, dict[str, Any], Sequence[int]], None]  # measured data, label values


def _center_probabilities(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Patches are centered on background in a fifth of all draws, on structures the more often the smaller they are."""
    volumes = [data["volume_ml"].get(str(value), {"median": 0.0}) for value in values[1:]]
    weights = [own["median"] ** -0.5 if own["median"] > 0 else 0.0 for own in volumes]
    drawn = {str(n): round((1 - BACKGROUND_PATCHES) * w / sum(weights), 3) for n, w in enumerate(weights, start=1)}
    decisions.take(
        "center_probabilities",
        {"0": BACKGROUND_PATCHES, **drawn},
        "a fifth of the patches on background, the others by one over the root of the structure's median volume",
    )
    decisions.take("lesions", None, "no structure is known to be a lesion")
    decisions.take("component_filter", False, "whether structures are of one piece is not known")


def _components(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Limits on the number and size of components."""
    limits = data["components"]
    smallest = min((limit["min_mm3"] for limit in limits.values()), default=0.0)
    decisions.take("components", [limit["keep"] for limit in limits.values()], "of which each holds a tenth or more")
    decisions.take("min_size", smallest, "a tenth of the smallest component that a case has (5th percentile), in mm3")
    decisions.take("coarse_min_size", smallest / 2, "half of it, as in the paper")


def _coarse_grid(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """The first stage's grid, in the proportions of the second's."""
    sides = [max(32, min(160, 16 * round(side * 160 / 192 / 16))) for side in decisions["grid"]]
    decisions.take("coarse_grid", sides, "the grid times 160 / 192, as in the paper")


EXTRAS: dict[str, Decide] = {
    "center_probabilities": _center_probabilities,
    "coarse_grid": _coarse_grid,
    "components": _components,
    "occupancy": decide_occupancy,
}
