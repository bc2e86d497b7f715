"""The box of the organs that a coarse network found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.transforms import Box, OrganBox

SHAPE = (100, 512, 512)
SPACING = (2.5, 0.8, 0.8)


def logits(*cuboids: tuple[int, tuple[slice, ...]], size: int = 160) -> torch.Tensor:
    volume = torch.full((4, size, size, size), -1.0)
    for organ, place in cuboids:
        volume[(organ, *place)] = 1.0
    return volume


def cuboid(*sides: tuple[int, int]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in sides)


def test_box_is_the_ratio_of_sides_times_first_and_last_voxel_with_the_margin_added_before_rounding():
    """By hand: ratios 0.625 and 3.2; margins 8 and 25 voxels; coarse voxels 40..79, 30..89, 51..100."""
    box = OrganBox()(logits((0, cuboid((40, 80), (30, 90), (51, 101)))), SHAPE, SPACING)
    #     40·0.625 = 25 - 8     30·3.2 = 96 - 25     51·3.2 = 163.2 -> 163 - 25
    #     79·0.625 = 49.4 -> 49 + 8    89·3.2 = 284.8 -> 284 + 25    100·3.2 = 320 + 25
    assert box == Box((17, 71, 138), (57, 309, 345))


def test_a_spacing_read_as_float32_makes_the_box_a_voxel_smaller_above():
    """20 / 0.80000001 is 24.9999996: 284 + 24.9999996 is cut down to 308, and 96 - 24.9999996 to 71."""
    spacing = (2.5, float(np.float32(0.8)), float(np.float32(0.8)))
    box = OrganBox()(logits((0, cuboid((40, 80), (30, 90), (51, 101)))), SHAPE, spacing)
    assert box == Box((17, 71, 138), (57, 308, 344))


def test_box_stays_inside_the_volume():
    box = OrganBox()(logits((3, cuboid((0, 160), (0, 160), (0, 160)))), SHAPE, SPACING)
    assert box == Box((0, 0, 0), SHAPE)


def test_box_holds_all_organs():
    first, second = cuboid((40, 60), (30, 50), (51, 81)), cuboid((60, 80), (70, 90), (81, 101))
    box = OrganBox()(logits((0, first), (2, second)), SHAPE, SPACING)
    assert box == Box((17, 71, 138), (57, 309, 345))


@pytest.mark.parametrize(("depth", "found"), [(9, False), (10, True)])
def test_components_must_exceed_1000_cubic_millimeters_on_the_coarse_grid(depth, found):
    """A coarse voxel measures 2.5·0.625 x 2.56 x 2.56 mm = 10.24 mm³: 1000 mm³ are 97.7 of them."""
    box = OrganBox()(logits((1, cuboid((0, depth), (0, 5), (0, 2)))), SHAPE, SPACING)
    assert (box is not None) is found


def test_a_second_spleen_is_not_in_the_box_but_a_second_kidney_is():
    one, other = cuboid((40, 80), (30, 90), (51, 101)), cuboid((100, 120), (30, 90), (51, 101))
    assert OrganBox()(logits((2, one), (2, other)), SHAPE, SPACING).stop[0] == 57
    assert OrganBox()(logits((1, one), (1, other)), SHAPE, SPACING).stop[0] == int(119 * 0.625) + 8


def test_nothing_found_is_none():
    assert OrganBox()(logits(size=20), SHAPE, SPACING) is None


def test_without_a_margin_one_voxel_is_a_box():
    box = OrganBox(margin=0, min_size=0)(logits((0, cuboid((3, 4), (5, 6), (7, 8))), size=20), (20, 20, 20), (1, 1, 1))
    assert box == Box((3, 5, 7), (4, 6, 8))
