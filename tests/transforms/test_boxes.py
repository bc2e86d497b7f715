"""Boxes against brute force, numbers worked out by hand, and the specification's rules."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest
import torch

from common.transforms import Box, centered_box, common_size, mask_box, soft_sum_box


def box(*sides: tuple[int, int]) -> Box:
    return Box(tuple(a for a, _ in sides), tuple(b for _, b in sides))


def saturated(shape: tuple[int, ...], *sides: tuple[int, int], background: float = -30.0) -> torch.Tensor:
    """Probabilities of a confident network: ``background`` logits around a cuboid of 1."""
    probability = torch.full(shape, background).sigmoid()
    probability[box(*sides).slices] = 1.0
    return probability


def test_box_of_a_mask_is_half_open():
    mask = torch.zeros(8, 9, 10)
    mask[2, 3, 4] = mask[5, 3, 8] = 1
    assert mask_box(mask) == box((2, 6), (3, 4), (4, 9))


def test_empty_mask_has_no_box():
    assert mask_box(torch.zeros(4, 4, 4)) is None
    assert mask_box(torch.zeros(4, 4, 4), largest_component=True) is None


def test_box_of_the_largest_component_leaves_specks_out():
    mask = torch.zeros(12, 12, 12, dtype=torch.bool)
    mask[1:4, 1:4, 1:4] = True
    mask[9:11, 9:11, 9:11] = True
    assert mask_box(mask) == box((1, 11), (1, 11), (1, 11))
    assert mask_box(mask, largest_component=True) == box((1, 4), (1, 4), (1, 4))


def test_voxels_that_touch_at_a_corner_are_one_component():
    mask = torch.zeros(8, 8, 8)
    mask[range(3), range(3), range(3)] = 1
    mask[6:8, 7, 7] = 1
    assert mask_box(mask, largest_component=True) == box((0, 3), (0, 3), (0, 3))


@pytest.mark.parametrize(("shape", "to"), [(11, 15), (19, 21), (40, 160), (13, 20), (20, 13), (48, 96), (7, 7)])
def test_box_on_another_grid_is_the_smallest_that_covers_it(shape, to):
    for start in range(shape):
        for stop in range(start + 1, shape + 1):
            expected = box((floor(Fraction(start * to, shape)), ceil(Fraction(stop * to, shape))))
            assert box((start, stop)).regridded((shape,), (to,)) == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [((40, 60), (34, 66)), ((0, 10), (0, 32)), ((95, 100), (68, 100)), ((30, 90), (44, 76)), ((40, 61), (34, 66))],
    ids=["centered", "at the start", "at the end", "smaller than the box", "odd box"],
)
def test_window_is_centered_and_shifted_back_inside(inside, expected):
    assert centered_box(box(inside), (32,), (100,)) == box(expected)


def test_window_larger_than_the_volume_is_the_volume():
    assert centered_box(box((3, 5), (3, 5)), (32, 8), (20, 20)) == box((0, 20), (0, 8))


def test_common_size_adds_the_buffer_once_to_the_largest_extent():
    boxes = [box((4, 70), (0, 100), (10, 200)), box((0, 40), (5, 115), (0, 80))]  # 66, 110, 190
    assert common_size(boxes, buffer=(30, 30, 30)) == (96, 144, 224)  # the published window; twice 30 would give 128


@pytest.mark.parametrize(("extent", "size"), [(1, 16), (16, 16), (17, 32), (96, 96)])
def test_common_size_goes_up_to_the_next_multiple_of_16(extent, size):
    assert common_size([box((0, extent))], buffer=(0,)) == (size,)


def test_common_size_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no box"):
        common_size([], buffer=(30,))


def test_soft_sum_box_ends_at_the_last_slice_without_adding_one():
    assert soft_sum_box(saturated((48, 160, 160), (10, 20), (50, 90), (60, 75))) == box((10, 19), (50, 89), (60, 74))


def test_soft_sum_takes_the_whole_frame_where_the_background_logit_is_minus_6():
    probability = saturated((48, 160, 160), (10, 20), (50, 90), (60, 75), background=-6.0)
    assert soft_sum_box(probability) == box((0, 47), (0, 159), (0, 159))


def test_soft_sum_needs_a_slice_that_reaches_the_minimum():
    at_ten, below = torch.zeros(6, 5, 8), torch.zeros(6, 5, 8)
    at_ten[1:4, :, 2:7] = 0.4  # sums 10 along z, 6 along y
    assert soft_sum_box(at_ten, minimum=6.0) == box((1, 3), (0, 4), (2, 6))
    assert soft_sum_box(at_ten) is None
    assert soft_sum_box(below) is None


def test_soft_sum_of_a_single_slice_has_no_extent_and_no_box():
    assert soft_sum_box(saturated((16, 64, 64), (5, 6), (10, 30), (10, 30))) is None
