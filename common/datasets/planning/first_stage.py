"""Rules for a bundle whose first stage finds a box around all structures on a coarse grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.datasets.planning.rules import Decisions

__all__ = ["first_stage", "one_piece"]

COARSE_VOXELS = 48 * 96 * 96  # of the median case on the coarse grid, at most
DIVISOR = 16
PIECE = 0.95  # of a structure's volume, in its largest component, from which it is of one piece
CENTERED = 0.8


def first_stage(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Whether there is a first stage, its grid, and where the second one's patches lie."""
    extent, spacing = np.array(data["extent_mm"]["median"]), np.array(decisions["spacing"])
    shape = extent / spacing
    needed = bool((shape.round() > decisions["patch"]).any())
    reason = "a patch does not cover the median case" if needed else "a patch covers the median case"
    decisions.take("first_stage", needed, reason + (": trained unless the volumes are cut to the structures" * needed))
    side = 2 * float(spacing.min())
    while math.prod(extent / np.maximum(spacing, side)) > COARSE_VOXELS:
        side *= 1.02
    coarse = [float(f"{max(own, side):.3g}") for own in spacing]
    decisions.take("coarse_spacing", coarse, f"at least twice the finest side; {COARSE_VOXELS:,} voxels at most")
    patch = [DIVISOR * max(1, math.ceil(round(n / own) / DIVISOR)) for n, own in zip(extent, coarse, strict=True)]
    if max(patch) == DIVISOR:
        patch[-1] = 2 * DIVISOR
    decisions.take("coarse_patch", patch, "the whole median case on the coarse grid")
    decisions.take("center_fraction", CENTERED, "of the patches, centered on a structure: all equally often")


def one_piece(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Label values whose largest component is all that is kept of a prediction."""
    parts = data["largest_part"]
    whole = [value for value in values[1:] if parts.get(str(value), 0) >= PIECE]
    decisions.take("one_piece", whole, f"largest component of {PIECE:.0%} of the volume or more in 95% of the cases")
