"""Holes and stray components of liver and tumor."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from common.transforms import FillEnclosedd

POSTPROCESSING = {
    "_target_": "Compose",
    "transforms": [
        {
            "_target_": "KeepLargestConnectedComponentd",
            "keys": "pred",
            "applied_labels": [1, 2],
            "is_onehot": False,
            "independent": False,
        },
        {"_target_": "common.transforms.FillEnclosedd", "keys": "pred", "labels": [1, 2], "value": 1},
    ],
}


@pytest.fixture
def liver() -> torch.Tensor:
    """A block of liver (1, 9, 9, 9) with a tumor of 3 × 3 × 3 in its middle."""
    labels = torch.zeros(1, 9, 9, 9, dtype=torch.uint8)
    labels[:, 1:8, 1:8, 1:8] = 1
    labels[:, 3:6, 3:6, 3:6] = 2
    return labels


def fill(labels: torch.Tensor) -> torch.Tensor:
    return FillEnclosedd("pred", labels=[1, 2], value=1)({"pred": labels.clone()})["pred"]


def test_a_tumor_inside_the_liver_stays_a_tumor(liver):
    assert torch.equal(fill(liver), liver)


@pytest.mark.parametrize("hole", [(2, 2, 2), (4, 4, 4), (4, 4, 2)])
def test_a_hole_in_the_liver_in_the_tumor_or_between_the_two_is_filled(liver, hole):
    holed = liver.clone()
    holed[(0, *hole)] = 0
    expected = liver.clone()
    expected[(0, *hole)] = 1
    assert torch.equal(fill(holed), expected)


def test_a_channel_to_the_outside_stays_open(liver):
    liver[0, 4, 4, :5] = 0
    assert torch.equal(fill(liver), liver)


def test_a_notch_at_the_border_of_the_volume_stays_open():
    labels = torch.ones(1, 4, 4, 4)
    labels[0, 0, 1:3, 1:3] = 0
    assert torch.equal(fill(labels), labels)


def test_another_organ_that_is_enclosed_stays(liver):
    liver[0, 4, 4, 4] = 7
    assert torch.equal(fill(liver), liver)


def test_an_empty_prediction_stays_empty():
    assert not fill(torch.zeros(1, 4, 4, 4)).any()


def test_the_affine_stays(liver):
    volume = MetaTensor(liver, affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))
    assert torch.equal(fill(volume).affine, volume.affine)


def test_only_the_largest_piece_of_liver_and_tumor_together_is_kept_and_filled():
    labels = torch.zeros(1, 16, 12, 12)
    labels[:, 1:7, 1:7, 1:7] = 1
    labels[:, 7:10, 3:5, 3:5] = 2  # a tumor at the liver's surface: part of it
    labels[:, 3, 3, 3] = 0  # a hole
    expected = labels.clone()
    expected[:, 3, 3, 3] = 1
    labels[:, 12:15, 8:11, 8:11] = 1  # spleen taken for liver,
    labels[:, 13, 9, 9] = 2  # with a tumor in it
    labels[:, 14, 1, 1] = 2  # and a tumor elsewhere
    parser = ConfigParser({"postprocessing": POSTPROCESSING})
    cleaned = parser.get_parsed_content("postprocessing")({"pred": labels})["pred"]
    assert torch.equal(torch.as_tensor(cleaned), expected)
