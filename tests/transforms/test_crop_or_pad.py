"""Crop or pad: which half is larger, where the voxels end up in the patient, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

from common.transforms import CropOrPadd


def line(n: int) -> dict:
    """Voxels 1 ... n along the first axis of a volume of n x 2 x 3."""
    values = torch.arange(1.0, n + 1)[None, :, None, None].expand(1, n, 2, 3).clone()
    return {"image": MetaTensor(values, affine=np.diag([2.0, 3.0, 4.0, 1.0]))}


@pytest.mark.parametrize(
    ("n", "target", "expected"),
    [
        (2, 5, [0, 0, 1, 2, 0]),  # three are missing: two before, one behind
        (3, 5, [0, 1, 2, 3, 0]),
        (4, 5, [0, 1, 2, 3, 4]),
        (5, 5, [1, 2, 3, 4, 5]),
        (6, 5, [2, 3, 4, 5, 6]),
        (7, 5, [2, 3, 4, 5, 6]),
        (8, 5, [3, 4, 5, 6, 7]),  # three too many: two before, one behind
    ],
)
def test_the_larger_half_of_an_odd_difference_is_at_the_start(n, target, expected):
    out = CropOrPadd("image", [target, -1, -1])(line(n))["image"]
    assert out.shape == (1, target, 2, 3)
    assert out[0, :, 1, 2].tolist() == expected


@pytest.mark.parametrize(("n", "first"), [(2, -2), (8, 2)])
def test_the_affine_leads_from_the_first_voxel_to_the_same_place(n, first):
    out = CropOrPadd("image", [5, 2, 3])(line(n))["image"]
    assert out.affine[:3, 3].tolist() == [2.0 * first, 0.0, 0.0]


def test_axes_are_cropped_and_padded_independently():
    volume = torch.rand(1, 7, 4, 5) + 1
    out = CropOrPadd("image", [4, 7, 5])({"image": MetaTensor(volume)})["image"]
    assert torch.equal(out[:, :, 2:6], volume[:, 2:6])
    assert float(out.sum()) == pytest.approx(float(volume[:, 2:6].sum()))


def test_each_key_is_padded_with_its_own_value():
    data = {"image": MetaTensor(torch.zeros(1, 2, 2, 2)), "label": MetaTensor(torch.ones(1, 2, 2, 2))}
    out = CropOrPadd(["image", "label"], [4, 2, 2], value=[-1024, 0])(data)
    assert out["image"][0, :, 0, 0].tolist() == [-1024, 0, 0, -1024]
    assert out["label"][0, :, 0, 0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("frame", [(7, 4, 6), (2, 9, 5), (8, 8, 8)])
def test_a_prediction_returns_to_the_grid_of_the_file(frame):
    preprocessing = Compose([CropOrPadd("image", [5, 6, 7], value=-1024)])
    image = MetaTensor(torch.rand(1, *frame) + 1, affine=np.diag([2.0, 3.0, 4.0, 1.0]))
    data = preprocessing({"image": image})
    data["pred"] = MetaTensor(data["image"].clone())
    back = Invertd("pred", preprocessing, orig_keys="image")(data)["pred"]
    assert back.shape == image.shape
    torch.testing.assert_close(back.affine, image.affine)
    kept = back != 0
    assert torch.equal(back[kept], image[kept])
    assert int(kept.sum()) == np.prod(np.minimum(frame, (5, 6, 7)))
