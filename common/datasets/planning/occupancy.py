"""What OSS-Net's plan says of its working grid, encoder, points and search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from common.datasets.planning.rules import Decisions

__all__ = ["decide_occupancy"]

PAPER_VOXELS = 256 * 256 * 160
SAME = 1.05  # longest over shortest voxel side of an axis, up to which cases count as of one voxel size
LOW_SIDE = 8  # voxels of the auxiliary segmentation along the longest axis
MOST_BLOCKS = 5
VOXELS_PER_POINT = 64
SMALL_BATCH = 2
SEEN = 3  # points of the search's lattice across the smallest structure


def decide_occupancy(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Replace ``grid`` by ``working_size`` and ``placement``, and take what follows from them.

    The network's axes are x, y, z (LPS); those of ``data`` and ``grid`` are z, y, x.

    Args:
        decisions: with ``grid``.
        data: what :func:`~common.datasets.planning.measures.summarize` gave.
        values: label values, 0 first.
    """
    grid, reason = decisions.pop("grid")[::-1], decisions.reasons.pop("grid")
    largest, median = ([int(n) for n in data["shape"][key]][::-1] for key in ("max", "median"))
    spacing = data["spacing_mm"]
    one_size = all(high <= SAME * low for low, high in zip(spacing["min"], spacing["max"], strict=True))
    whole = all(side >= n for side, n in zip(grid, median, strict=True)) and math.prod(largest) <= PAPER_VOXELS
    if one_size and whole:
        sides, placement = largest, "pad"
        reason, why = "the largest case", "cases have one voxel size: zeros around them, as in the paper's BraTS"
    else:
        sides, placement = grid, "resize"
        why = "cases differ in voxel size, or are larger than the grid: resized to it, as in the paper's LiTS"
    blocks = min(MOST_BLOCKS, max(1, round(math.log2(max(sides) / LOW_SIDE)) - 1))
    divisor = 2 ** (blocks + 1)
    nearest = math.ceil if placement == "pad" else round
    size = [divisor * max(1, nearest(side / divisor)) for side in sides]
    decisions.take("working_size", size, f"{reason}, in multiples of {divisor}, {blocks} halvings of half of it")
    decisions.take("placement", placement, why)

    voxels = math.prod(size)
    small = voxels < PAPER_VOXELS / 8
    last = 64 if small else 128
    extent = f"{voxels:,} voxels" + (", a small grid" if small else "")
    decisions.take("encoder_channels", [max(8, last >> n) for n in range(blocks)][::-1], extent)
    decisions.take("low_shape", [side // divisor for side in size], f"a {divisor}th of the working grid")
    decisions.take("width", 128 if small else 512, extent)
    points = 2 ** min(14, max(11, round(math.log2(voxels / VOXELS_PER_POINT))))
    decisions.take("points", points, f"one for {voxels / points:.3g} voxels of the working grid")
    decisions.take("border_fraction", 0.5, "half of them near the structures' surfaces, as many for each")
    decisions.take("learning_rate", 4e-3 if small else 3e-4, extent if small else "the paper's")
    if small and decisions["batch_size"] > SMALL_BATCH:
        times = decisions["batch_size"] / SMALL_BATCH
        decisions.take("batch_size", SMALL_BATCH, f"{extent}: more steps in the same time")
        decisions.reasons["epochs"] += f"; {times:g} times as many with the smaller batch"
    _search(decisions, data, values)


def _search(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """How coarse the lattice is at which a search starts."""
    smallest = min((data["volume_ml"][str(v)]["min"] for v in values if str(v) in data["volume_ml"]), default=0.0)
    scale = [1.0, 1.0, 1.0]  # working grid's voxels for each of a case's
    if decisions["placement"] == "resize":
        scale = [n / side for n, side in zip(decisions["working_size"], data["shape"]["median"][::-1], strict=True)]
    voxels = 1000 * smallest / math.prod(data["spacing_mm"]["median"]) * math.prod(scale)
    across = (6 * voxels / math.pi) ** (1 / 3)  # of a ball
    depth = 0 if across < 2 * SEEN else min(2, int(math.log2(across / SEEN)))
    decisions.take("depth", depth, f"the smallest structure is {across:.3g} voxels across, as a ball would be")
