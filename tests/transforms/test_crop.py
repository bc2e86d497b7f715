"""Crops keep image, label and patient together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms import Box, CropToBoxd, LabelBox, box_source

AFFINE = np.array([[0, 0, 2.0, 10], [0, 1.5, 0, -5], [1.0, 0, 0, 3], [0, 0, 0, 1]])


def case() -> dict[str, MetaTensor]:
    """An image that counts its voxels, and a label in the corner [2:6, 8:11, 1:3]."""
    image = torch.arange(10 * 12 * 8, dtype=torch.float32).reshape(1, 10, 12, 8)
    label = torch.zeros(1, 10, 12, 8)
    label[:, 2:6, 8:11, 1:3] = 1
    return {"image": MetaTensor(image, affine=AFFINE), "label": MetaTensor(label, affine=AFFINE)}


def test_image_and_label_are_cut_alike():
    data = case()
    out = CropToBoxd(["image", "label"], lambda image: Box((1, 2, 3), (5, 9, 6)))(data)
    np.testing.assert_array_equal(out["image"], data["image"][:, 1:5, 2:9, 3:6])
    np.testing.assert_array_equal(out["label"], data["label"][:, 1:5, 2:9, 3:6])


def test_crop_stays_where_it_is_in_the_patient():
    out = CropToBoxd("image", lambda image: Box((1, 2, 3), (5, 9, 6)))(case())
    np.testing.assert_allclose(out["image"].affine[:, 3], AFFINE @ [1, 2, 3, 1])


def test_window_of_a_size_is_centered_on_the_labels_box():
    out = CropToBoxd(["image", "label"], LabelBox(), size=(4, 4, 4))(case())
    np.testing.assert_array_equal(out["image"], case()["image"][:, 2:6, 7:11, 0:4])


def test_window_is_in_the_middle_where_nothing_is_found():
    out = CropToBoxd(["image", "label"], lambda image: None, size=(4, 4, 4))(case())
    np.testing.assert_array_equal(out["image"], case()["image"][:, 3:7, 4:8, 2:6])


def test_without_a_locator_nothing_is_cut():
    assert CropToBoxd(["image", "label"], None, size=(4, 4, 4))(case())["image"].shape == (1, 10, 12, 8)


def test_locator_is_made_only_for_the_crop_that_uses_it():
    def make():
        return "made"

    assert box_source("locator", make) == "made"
    assert isinstance(box_source("label", pytest.fail), LabelBox)
    assert box_source("none", pytest.fail) is None
