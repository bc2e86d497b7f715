"""Random crops around labels keep to the numbers of the paper's code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms import CropToBoxd, LabelBox, RandLabelBoxCropd

SPACING = (5.0, 8.0, 4.0)  # mm: 40 mm are 8, 5 and 10 voxels, 20 mm are 4, 2 and 5
FRAME = (40, 30, 60)
FIRST, LAST = (12, 8, 15), (28, 20, 42)  # first and last voxel of the label


def case(first: tuple[int, ...] = FIRST, last: tuple[int, ...] = LAST) -> dict[str, MetaTensor]:
    """A label with a box from ``first`` to ``last``, and an image whose voxels count."""
    affine = np.diag([*SPACING, 1.0])
    label = torch.zeros(1, *FRAME, dtype=torch.uint8)
    label[(0, *first)], label[(0, *last)] = 1, 4
    image = torch.arange(label.numel(), dtype=torch.int32).reshape(label.shape)
    return {"image": MetaTensor(image, affine=affine), "label": MetaTensor(label, affine=affine)}


def drawn(transform: RandLabelBoxCropd, label: MetaTensor, times: int = 2000) -> np.ndarray:
    """First and last voxel of many crops, (times, 2, 3)."""
    transform.set_random_state(0)
    boxes = []
    for _ in range(times):
        transform.randomize(label)
        boxes.append([transform.box.start, [n - 1 for n in transform.box.stop]])
    return np.array(boxes)


def test_the_fixed_crop_has_20_mm_below_and_a_voxel_less_above() -> None:
    out = CropToBoxd(["image", "label"], LabelBox(20))(case())
    whole = case()
    for key in ("image", "label"):
        assert torch.equal(out[key], whole[key][:, 12 - 4 : 28 + 4, 8 - 2 : 20 + 2, 15 - 5 : 42 + 5])


def test_the_fixed_crop_ends_where_the_volume_does() -> None:
    box = LabelBox(20)(case(first=(3, 8, 15), last=(28, 29, 42))["label"])
    assert (box.start, box.stop) == ((0, 6, 10), (32, 30, 47))


def test_a_margin_thinner_than_a_voxel_cuts_nothing_off() -> None:
    box = LabelBox(0.5)(case()["label"])
    assert (box.start, box.stop) == (FIRST, tuple(n + 1 for n in LAST))


def test_without_luck_the_crop_is_the_fixed_one() -> None:
    crop = RandLabelBoxCropd(["image", "label"], prob=0.0)
    assert torch.equal(crop(case())["image"], CropToBoxd("image", LabelBox(20))(case())["image"])


def test_faces_move_by_every_number_from_a_third_of_40_mm_back_to_40_mm() -> None:
    boxes = drawn(RandLabelBoxCropd("image", prob=1.0), case()["label"])
    for axis, m in enumerate((8, 5, 10)):
        below, above = boxes[:, 0, axis] - FIRST[axis], boxes[:, 1, axis] + 1 - LAST[axis]
        expected = set(range(math.floor(-m / 3), m))
        assert set(below) == expected  # a lower face moves inwards by a positive number
        assert set(above) == expected  # an upper one outwards


def test_a_symmetric_crop_moves_lower_faces_outwards() -> None:
    boxes = drawn(RandLabelBoxCropd("image", prob=1.0, symmetric=True), case()["label"])
    outwards = FIRST[0] - boxes[:, 0, 0]
    assert (outwards.min(), outwards.max()) == (-3, 7)


def test_faces_are_drawn_independently() -> None:
    boxes = drawn(RandLabelBoxCropd("image", prob=1.0), case()["label"]).reshape(-1, 6)
    correlation = np.corrcoef(boxes.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.1


def test_half_of_the_crops_are_the_fixed_one() -> None:
    boxes = drawn(RandLabelBoxCropd("image"), case()["label"])
    fixed = np.array([[8, 6, 10], [31, 21, 46]])
    assert (boxes == fixed).all(axis=(1, 2)).mean() == pytest.approx(0.5, abs=0.05)


def test_faces_stay_in_the_volume() -> None:
    boxes = drawn(RandLabelBoxCropd("image", prob=1.0, symmetric=True), case((0, 0, 0), (39, 29, 59))["label"], 200)
    assert boxes.min() == 0
    assert boxes[:, 1].max(axis=0).tolist() == [39, 29, 59]


def test_no_crop_of_a_single_voxel_is_empty_and_the_fixed_one_stands_in() -> None:
    boxes = drawn(RandLabelBoxCropd("image", prob=1.0), case((20, 14, 30), (20, 14, 30))["label"])
    assert (boxes[:, 0] <= boxes[:, 1]).all()
    fixed = (boxes == np.array([[16, 12, 25], [23, 15, 34]])).all(axis=(1, 2))
    assert fixed.mean() > 0.5


def test_an_empty_label_leaves_the_whole_volume() -> None:
    data = case()
    data["label"] = data["label"] * 0
    assert RandLabelBoxCropd(["image", "label"], prob=0.0)(data)["image"].shape == (1, *FRAME)


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_a_crop_needs_lies_within_40_mm_of_the_labels(symmetric: bool) -> None:
    """So that a volume cut to that much, and kept, gives the same crops as the whole one."""
    crop = RandLabelBoxCropd(["image", "label"], prob=0.8, symmetric=symmetric)
    kept = CropToBoxd(["image", "label"], LabelBox(40))(case())
    for seed in range(20):
        whole = crop.set_random_state(seed)(case())["image"]
        assert torch.equal(crop.set_random_state(seed)(kept)["image"], whole)
