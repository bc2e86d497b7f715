"""Rescaling to a range, and the affine that keeps its background."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandAffined, ShiftIntensityd

from common.transforms import RescaleIntensityd


@pytest.mark.parametrize("low, high", [(-1024.0, 3071.0), (-3024.0, 1777.7), (0.1, 0.3)])
def test_ends_exactly_at_minus_one_and_one(low, high):
    volume = torch.rand(1, 8, 8, 8) * (high - low) * 0.99 + low
    volume[0, 0, 0, :2] = torch.tensor([low, high])
    out = RescaleIntensityd("image")({"image": volume})["image"]
    assert (float(out.min()), float(out.max())) == (-1.0, 1.0)
    torch.testing.assert_close(out, -1 + 2 * (volume - low) / (high - low))


def test_a_constant_volume_stays_and_is_named():
    volume = MetaTensor(torch.full((1, 2, 2, 2), 40.0), meta={"filename_or_obj": "liver_7.nii.gz"})
    with pytest.warns(UserWarning, match=r"liver_7\.nii\.gz: all voxels are 40; not rescaled"):
        out = RescaleIntensityd("image")({"image": volume})["image"]
    assert torch.equal(out, torch.full((1, 2, 2, 2), 40.0))


def test_an_affine_between_two_shifts_fills_with_the_minimum():
    """MONAI's affine fills with 0, so the volume's minimum is brought there and back."""
    affine = Compose(
        [
            ShiftIntensityd("image", 1),
            RandAffined("image", prob=1, scale_range=[[1.0, 1.0]] * 3, mode="bilinear", padding_mode="zeros"),
            ShiftIntensityd("image", -1),
        ]
    )
    out = affine({"image": MetaTensor(torch.ones(1, 16, 16, 16))})["image"]  # shrunk to half
    assert out[0, 0, 0, 0] == -1.0 and out[0, 8, 8, 8] == 1.0
    assert float(out.min()) == -1.0
