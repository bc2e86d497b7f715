"""A plan's numbers follow from the data by rules, each with a reason."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from common.datasets.planning.rules import Traits, decide

PATCHES = Traits(divisor=8, least=16, patch=[96, 96, 96], mib_per_megavoxel=900, batch_size=2, steps=6000, epochs=400)
GRIDS = Traits(
    divisor=16, least=64, patch=[192] * 3, mib_per_megavoxel=500, batch_size=1, steps=100, epochs=9, fixed_grid=True
)
HU = {"mean": 90.0, "sd": 30.0, "p0.5": -37.0, "median": 95.0, "p99.5": 152.0}


def data(shape: list[int], spacing: list[float], *, finest: list[float] | None = None, zeros: float = 0.0) -> dict:
    """What a data set measures, as far as the rules read it."""
    extent = [n * side for n, side in zip(shape, spacing, strict=True)]
    return {
        "cases": 8,
        "shape": {"median": shape},
        "spacing_mm": {"median": spacing, "min": finest or spacing},
        "extent_mm": {"median": extent},
        "intensity": {"CT": HU},
        "zero_fraction": zeros,
    }


def planned(measured: dict, traits: Traits = PATCHES, modality: str = "MR", cases: int = 8, **options: Any) -> Any:
    return decide(traits, measured, modality=modality, cases=cases, memory_gb=options.pop("memory_gb", 64.0), **options)


def test_a_window_of_ct_spans_the_structures_intensities_to_the_next_5_hu() -> None:
    decisions = planned(data([64] * 3, [1.0] * 3), modality="CT")
    assert decisions["window"] == [-40, 155] and "HU" in decisions.reasons["window"]


@pytest.mark.parametrize(("zeros", "nonzero"), [(0.6, True), (0.05, False)])
def test_mr_is_normalized_case_by_case_without_the_zeros_around_a_cut_out_brain(zeros: float, nonzero: bool) -> None:
    decisions = planned(data([64] * 3, [1.0] * 3, zeros=zeros))
    assert (decisions["window"], decisions["nonzero"]) == (None, nonzero)


def test_a_small_case_is_one_patch_of_multiples_of_the_divisor() -> None:
    decisions = planned(data([35, 50, 35], [1.0, 1.0, 1.0]))
    assert decisions["patch"] == [40, 56, 40] and decisions["spacing"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("shape", [[130, 512, 512], [600, 300, 300], [40, 700, 700]])
def test_a_patch_has_at_most_the_papers_voxels_and_sides_that_the_network_takes(shape: list[int]) -> None:
    patch = planned(data(shape, [2.5, 0.8, 0.8]))["patch"]
    assert 0.5 * 96**3 <= math.prod(patch) <= 96**3
    assert all(side % 8 == 0 and side >= 16 for side in patch)


def test_a_coarse_axis_is_sharpened_to_the_finest_that_a_case_has_but_no_finer_than_the_others() -> None:
    decisions = planned(data([40, 128, 128], [5.0, 1.0, 1.0], finest=[2.0, 1.0, 1.0]))
    assert decisions["spacing"] == [2.0, 1.0, 1.0] and "coarse axis" in decisions.reasons["spacing"]


def test_a_grid_is_made_coarser_from_its_finest_axes_until_a_patch_covers_a_twelfth() -> None:
    decisions = planned(data([400, 512, 512], [1.5, 0.8, 0.8]))
    z, y, x = decisions["spacing"]
    voxels = math.prod(n * old / new for n, old, new in zip([400, 512, 512], [1.5, 0.8, 0.8], [z, y, x], strict=True))
    assert voxels <= 12.1 * 96**3 and y == x and z >= 1.5 and "coarser" in decisions.reasons["spacing"]


def test_little_memory_makes_the_batch_smaller_then_the_patch() -> None:
    measured = data([300] * 3, [1.0] * 3)
    assert planned(measured, memory_gb=64)["batch_size"] == 2
    half = planned(measured, memory_gb=0.9)
    assert half["batch_size"] == 1 and math.prod(half["patch"]) > 0.5 * 96**3
    assert math.prod(planned(measured, memory_gb=0.2)["patch"]) <= 0.2 * 1024 / 900 * 1e6


def test_a_fixed_grid_has_the_proportions_of_the_median_case() -> None:
    grid = planned(data([155, 240, 240], [1.0] * 3), GRIDS)["grid"]
    assert grid[0] < grid[1] and all(side % 16 == 0 for side in grid) and math.prod(grid) <= 192**3


def test_a_grid_has_one_side_of_the_length_that_the_network_needs() -> None:
    assert planned(data([35, 50, 35], [1.0] * 3), replace(GRIDS, longest=128))["grid"] == [64, 128, 64]


@pytest.mark.parametrize(("cases", "epochs"), [(8, 400), (300, 40)])
def test_epochs_follow_from_the_steps_of_the_schedule(cases: int, epochs: int) -> None:
    assert planned(data([64] * 3, [1.0] * 3), cases=cases)["epochs"] == epochs


@pytest.mark.parametrize(
    ("shape", "cases", "per_case", "epochs"),
    [
        ([35, 50, 35], 156, 1, 77),  # a patch covers a case: an epoch of 78 steps
        ([300, 300, 300], 105, 5, 23),  # as the paper: 262 steps
        ([300, 300, 300], 8, 5, 300),
        ([35, 50, 35], 8, 4, 375),  # one patch of each would end after 1,600 of 6,000 steps
    ],
)
def test_an_epoch_takes_the_patches_that_cover_a_case_but_enough_for_all_steps(
    shape: list[int], cases: int, per_case: int, epochs: int
) -> None:
    decisions = planned(data(shape, [1.0] * 3), replace(PATCHES, patches=5), cases=cases)
    assert (decisions["samples_per_case"], decisions["epochs"]) == (per_case, epochs)


def test_every_decision_has_a_reason() -> None:
    for traits in (PATCHES, GRIDS):
        decisions = planned(data([64] * 3, [1.0] * 3), traits)
        assert decisions.keys() == decisions.reasons.keys() and all(decisions.reasons.values())
