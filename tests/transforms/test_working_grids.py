"""Where volumes lie on OSS-Net's working grid, by hand and by the specification's numbers."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from common.transforms import PadToWorkingGridd, working_grid

CASES = {  # sides of the volume, least sides of the grid -> voxels before it, sides of the grid
    "BraTS, as published": ((240, 240, 155), (256, 256, 160), (8, 8, 3), (256, 256, 160)),
    "an odd voxel more goes before the volume": ((5, 6, 7), (8, 8, 8), (2, 1, 1), (8, 8, 8)),
    "a larger axis grows to the next multiple": ((300, 240, 161), (256, 256, 160), (10, 8, 16), (320, 256, 192)),
    "without least sides all axes grow": ((30, 32, 33), None, (1, 0, 16), (32, 32, 64)),
}


@pytest.mark.parametrize("name", CASES)
def test_half_of_the_added_voxels_come_before_the_volume(name: str) -> None:
    shape, least, before, size = CASES[name]
    assert working_grid(shape, least, 32) == (list(before), list(size))


def test_volumes_keep_their_voxels_and_get_zeros_around_them() -> None:
    image, label = torch.randn(2, 5, 6, 7), torch.ones(1, 5, 6, 7, dtype=torch.uint8)
    pad = PadToWorkingGridd(["image", "label"], (8, 8, 8), divisor=4)
    out = pad({"image": MetaTensor(image), "label": MetaTensor(label)})
    (a, b, c), (d, e, f) = out["box"].tolist()
    assert (a, b, c, d, e, f) == (2, 1, 1, 7, 7, 8)
    assert torch.equal(out["image"][:, a:d, b:e, c:f], image)
    assert out["image"].abs().sum() == pytest.approx(float(image.abs().sum()), rel=1e-5)
    assert out["label"].shape == (1, 8, 8, 8) and out["label"].dtype == torch.uint8
    assert int(out["label"].sum()) == label.numel()


def test_a_border_map_is_padded_where_there_is_one() -> None:
    pad = PadToWorkingGridd(["image", "border"], (8, 8, 8), divisor=4, allow_missing_keys=True)
    assert set(pad({"image": torch.zeros(1, 8, 8, 8)})) == {"image", "box"}
