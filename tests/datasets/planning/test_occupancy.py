"""OSS-Net's grid, encoder and points follow from the data, and are the paper's for data like the paper's."""

from __future__ import annotations

from typing import Any

import pytest

from common.datasets.planning.channels import channels_of
from common.datasets.planning.occupancy import decide_occupancy
from common.datasets.planning.rules import Decisions


def planned(
    median: list[int],
    *,
    largest: list[int] | None = None,
    grid: list[int] | None = None,
    sizes: float = 1.0,
    ml: float = 3.0,
) -> Decisions:
    """Sides in z, y, x; voxels of 1 mm, in some cases ``sizes`` times as long."""
    decisions = Decisions()
    decisions.take("grid", grid or median, "the median case")
    decisions.take("batch_size", 8, "the paper's")
    decisions.take("epochs", 50, "2,000 steps")
    spacing = {"median": [1.0] * 3, "min": [1.0] * 3, "max": [sizes] * 3}
    data: dict[str, Any] = {"shape": {"median": median, "max": largest or median}, "spacing_mm": spacing}
    decide_occupancy(decisions, {**data, "volume_ml": {"1": {"min": ml}}}, [0, 1])
    return decisions


def test_brats_gets_the_papers_grid_encoder_and_points() -> None:
    plan = planned([155, 240, 240], grid=[160, 240, 240])
    assert (plan["working_size"], plan["placement"]) == ([256, 256, 160], "pad")
    assert (plan["encoder_channels"], plan["low_shape"], plan["width"]) == ([16, 32, 64, 128], [8, 8, 5], 512)
    assert (plan["points"], plan["learning_rate"], plan["batch_size"]) == (2**14, 3e-4, 8)


def test_a_grid_is_in_the_networks_order_of_axes() -> None:
    assert planned([40, 56, 72])["working_size"] == [72, 56, 40]


def test_small_volumes_get_a_shallow_encoder_and_the_largest_case_fits() -> None:
    plan = planned([35, 50, 35], largest=[46, 59, 43], grid=[40, 56, 40])
    assert plan["working_size"] == [48, 64, 48] and plan["low_shape"] == [6, 8, 6]
    assert len(plan["encoder_channels"]) == 2 and plan["points"] == 2**11 and plan["width"] < 512


@pytest.mark.parametrize("sides", [[100, 512, 512], [300, 300, 300], [20, 30, 25], [64, 400, 60]])
def test_the_grid_is_a_multiple_of_what_the_encoder_halves(sides: list[int]) -> None:
    plan = planned(sides, grid=[min(side, 256) for side in sides])
    divisor = 2 ** (len(plan["encoder_channels"]) + 1)
    assert plan["working_size"] == [divisor * low for low in plan["low_shape"]]


def test_cases_of_several_voxel_sizes_are_resized() -> None:
    assert planned([60, 120, 120], sizes=1.5)["placement"] == "resize"


@pytest.mark.parametrize(("ml", "depth"), [(3.0, 2), (0.3, 1), (0.02, 0)])
def test_the_search_starts_finer_the_smaller_the_smallest_structure(ml: float, depth: int) -> None:
    """Balls of 17.9, 8.3 and 3.4 voxels; 3 points of the lattice shall lie across them."""
    assert planned([64, 64, 64], ml=ml)["depth"] == depth


def test_every_decision_has_a_reason() -> None:
    plan = planned([64, 64, 64])
    assert plan.keys() == plan.reasons.keys() and all(plan.reasons.values())


@pytest.mark.parametrize(
    ("structures", "order", "output", "values", "written"),
    [
        ({"tumor": 2}, (), "sigmoid", [[2]], [2]),
        ({"whole": [1, 2, 4]}, (1,), "sigmoid", [[1, 2, 4]], [1]),
        ({"a": 3, "b": 7}, (), "softmax", [[0], [3], [7]], [0, 3, 7]),
        ({"a": [1, 2], "b": 4}, (1, 4), "softmax", [[0], [1, 2], [4]], [0, 1, 4]),
        ({"whole": [1, 2, 3], "core": [2, 3], "inner": 3}, (1, 2, 3), "sigmoid", [[1, 2, 3], [2, 3], [3]], [1, 2, 3]),
    ],
)  # fmt: skip
def test_channels_are_one_structure_classes_or_regions_that_overlap(
    structures: dict[str, Any], order: tuple[int, ...], output: str, values: list[list[int]], written: list[int]
) -> None:
    planned, reasons = channels_of(structures, order)
    assert planned == {"output": output, "output_values": values, "written_values": written} and reasons["output"]
