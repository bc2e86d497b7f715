"""Rules by which a plan follows from a data set: grid, patch, intensities, schedule; after Isensee et al. 2021."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Decisions", "Traits", "decide"]

ANISOTROPIC = 3.0  # longest over shortest voxel side from which the coarse axis is sharpened (nnU-Net)
COVERED = 12.0  # median case over patch, in voxels, above which the grid is made coarser
HU_STEP = 5  # windows end at multiples of it
MEMORY_PART = 0.5  # of the machine's memory, for a training step
ZEROS = 0.25  # fraction of voxels of 0, from which they are no part of the body


@dataclass(frozen=True)
class Traits:
    """What a plan must know of a bundle.

    Args:
        divisor: sides of patches and grids are multiples of it.
        least: voxels that every side of a patch has at least.
        longest: voxels that one of its sides has at least.
        patch: sides of the paper's patch or grid (D, H, W): its voxels are the most that a planned one has.
        mib_per_megavoxel: memory of a training step for each million voxels of the batch.
        batch_size: the paper's.
        steps: of training, optimizer steps in all.
        epochs: at most.
        patches: that an epoch takes of each case, in the paper; None where it takes the cases as they are.
        split: ``"seeded"``, or ``"stratified"`` by the structure that most cases lack: which cases are held out.
        fixed_grid: whether cases are resized to a grid of ``patch``, instead of resampled to a spacing.
        sigmoid: whether structures are separate maps (sigmoid) instead of classes (softmax).
        extras: further decisions that the bundle needs, by name.
    """

    divisor: int
    least: int
    patch: Sequence[int]
    mib_per_megavoxel: float
    batch_size: int
    steps: int
    epochs: int
    longest: int = 1
    patches: int | None = None
    split: str = "seeded"
    fixed_grid: bool = False
    sigmoid: bool = False
    extras: Sequence[str] = ()


class Decisions(dict):
    """Values by name, each with the reason for it in words: ``decisions.take("spacing", [...], "median of ...")``."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}

    def take(self, name: str, value: Any, reason: str) -> Any:
        """Note a value and its reason; returns the value."""
        self[name], self.reasons[name] = value, reason
        return value


def decide(
    traits: Traits, data: dict[str, Any], *, modality: str, cases: int, memory_gb: float | None = None
) -> Decisions:
    """What a bundle's plan says for a data set.

    Args:
        traits: of the bundle.
        data: what :func:`~common.datasets.planning.measures.summarize` gave.
        modality: ``"CT"``, or another name.
        cases: that are trained on.
        memory_gb: that a training step may take; None: half of what the machine has.
    """
    decisions = Decisions()
    _intensities(decisions, data, modality)
    budget = _voxels(decisions, traits, memory_gb)
    if traits.fixed_grid:
        _fixed_grid(decisions, traits, data, budget)
    else:
        _spacing_and_patch(decisions, traits, data, budget)
    _schedule(decisions, traits, data, cases)
    return decisions


def _intensities(decisions: Decisions, data: dict[str, Any], modality: str) -> None:
    if modality != "CT":
        decisions.take("window", None, f"{modality}: every channel of a case by its own mean and standard deviation")
        empty = data["zero_fraction"] >= ZEROS
        reason = f"{data['zero_fraction']:.0%} of the voxels are 0" + (", as around a cut-out brain" if empty else "")
        decisions.take("nonzero", empty, f"statistics of the voxels that are not 0: {reason}")
        decisions.take("shown", None, "pictures show the image's own range")
        return
    (numbers,) = list(data["intensity"].values())[:1]
    low = HU_STEP * math.floor(numbers["p0.5"] / HU_STEP)
    high = max(HU_STEP * math.ceil(numbers["p99.5"] / HU_STEP), low + HU_STEP)
    decisions.take("window", [low, high], "CT: from the 0.5th to the 99.5th percentile of HU within the structures")
    decisions.take("nonzero", False, "CT: 0 is water")
    decisions.take("shown", [low, high], "the window")


def _voxels(decisions: Decisions, traits: Traits, memory_gb: float | None) -> float:
    """Voxels that a patch may have."""
    available = memory_gb
    if available is None:
        available = MEMORY_PART * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    affordable = 1e6 * 1024 * available / (traits.mib_per_megavoxel * traits.batch_size)
    paper = float(math.prod(traits.patch))
    if affordable >= paper:
        decisions.take("batch_size", traits.batch_size, "the paper's")
        return paper
    batch_size = max(1, int(traits.batch_size * affordable / paper))
    decisions.take("batch_size", batch_size, f"what {available:.3g} GB hold of the paper's {traits.batch_size}")
    return min(paper, affordable * traits.batch_size / batch_size)


def _spacing_and_patch(decisions: Decisions, traits: Traits, data: dict[str, Any], budget: float) -> None:
    spacing, shape = (np.array(data[key]["median"]) for key in ("spacing_mm", "shape"))
    extent, reason = np.array(data["extent_mm"]["median"]), "median of the cases"
    if spacing.max() / spacing.min() >= ANISOTROPIC:
        axis = int(spacing.argmax())
        others = np.delete(spacing, axis).max()
        spacing[axis] = max(data["spacing_mm"]["min"][axis], others)
        reason += f"; along the coarse axis the finest that a case has ({spacing[axis]:.3g} mm)"
    voxels = float(np.prod(extent / spacing))
    if voxels > COVERED * budget:
        before = spacing.copy()
        while float(np.prod(extent / spacing)) > COVERED * budget:
            finest = spacing.min()
            spacing[spacing <= 1.01 * finest] = finest * 1.02
        reason += f"; made coarser from {_text(before)}, so that a patch covers a {COVERED:.0f}th of the median case"
    spacing = np.array([float(f"{side:.3g}") for side in spacing])
    decisions.take("spacing", spacing.tolist(), reason)
    shape = extent / spacing
    patch = _patch(shape, traits, budget)
    decisions.take(
        "patch", patch, f"the median case has {_text(shape.round())} voxels; at most {budget:,.0f} voxels, the paper's"
    )
    decisions.take("roi_size", patch, "the patch that the network is trained on")


def _patch(shape: np.ndarray, traits: Traits, budget: float) -> list[int]:
    """Sides in the proportion of the median case, multiples of the divisor, within the budget."""
    scale = min(1.0, (budget / float(np.prod(shape))) ** (1 / 3))
    step, least = traits.divisor, traits.divisor * math.ceil(traits.least / traits.divisor)
    whole = np.maximum(step * np.ceil(shape / step), least)
    sides = np.clip(step * np.ceil(shape * scale / step), least, whole)
    while np.prod(sides) > budget and (sides > least).any():
        ratio = np.where(sides > least, sides / shape, 0)
        sides[int(ratio.argmax())] -= step
    while True:  # what is left of the budget goes to the axis that is covered least
        grown = [n for n in np.argsort(sides / shape) if sides[n] < whole[n]]
        grown = [n for n in grown if np.prod(sides) / sides[n] * (sides[n] + step) <= budget]
        if not grown:
            if sides.max() < traits.longest:
                sides[int(shape.argmax())] = traits.longest
            return [int(side) for side in sides]
        sides[grown[0]] += step


def _fixed_grid(decisions: Decisions, traits: Traits, data: dict[str, Any], budget: float) -> None:
    shape = np.array(data["shape"]["median"])
    grid = _patch(shape, traits, budget)
    decisions.take("grid", grid, f"the median case has {_text(shape)} voxels; at most {budget:,.0f}, the paper's")


def _schedule(decisions: Decisions, traits: Traits, data: dict[str, Any], cases: int) -> None:
    """Epochs, and the patches that each takes of a case: as many as cover it, but enough for all steps."""
    per_case = 1
    if traits.patches is not None:
        voxels = math.prod(data["extent_mm"]["median"]) / math.prod(decisions["spacing"])
        cover = voxels / math.prod(decisions["patch"])
        shortest = math.ceil(traits.steps / traits.epochs * decisions["batch_size"] / cases)
        per_case = max(min(traits.patches, math.ceil(cover)), shortest)
        reason = f"a patch covers {min(1, 1 / cover):.0%} of the median case; the paper takes {traits.patches}"
        if per_case == shortest > 1:
            reason = f"so many that {traits.epochs} epochs of {cases} cases are {traits.steps:,} steps"
        decisions.take("samples_per_case", per_case, reason)
    per_epoch = max(1, per_case * cases // decisions["batch_size"])
    epochs = min(traits.epochs, max(1, round(traits.steps / per_epoch)))
    reason = f"about {traits.steps:,} steps, {per_epoch} in an epoch"
    if epochs == traits.epochs:
        reason = f"at most {traits.epochs}, of {per_epoch} steps: {epochs * per_epoch:,} of {traits.steps:,}"
    decisions.take("epochs", epochs, reason)


def _text(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
