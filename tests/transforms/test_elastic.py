"""Deformations by control points, worked by hand where they can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from common.transforms import RandControlPointElasticd

SHAPE = (9, 7, 5)


def deform(volume: Tensor, shifts: np.ndarray, mode: str = "bilinear") -> Tensor:
    """The volume deformed by given shifts of the nodes."""
    transform = RandControlPointElasticd("image", points=shifts.shape[1], mode=mode)
    transform._do_transform, transform.shifts, transform.randomize = True, shifts, lambda: None
    return transform({"image": volume})["image"]


def constant(*shift: float) -> np.ndarray:
    """The same shift of all 3x3x3 nodes."""
    return np.broadcast_to(np.reshape(shift, (3, 1, 1, 1)), (3, 3, 3, 3)).copy()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nodes_that_all_shift_by_a_voxel_move_the_volume_by_it_with_zeros_behind(axis):
    volume = torch.rand(2, *SHAPE)
    shift = [0.0, 0.0, 0.0]
    shift[axis] = 1.0
    expected = volume.roll(-1, axis + 1)
    expected.select(axis + 1, SHAPE[axis] - 1).zero_()
    torch.testing.assert_close(deform(volume, constant(*shift)), expected, atol=1e-5, rtol=0)


def test_displacement_is_that_of_the_nodes_and_a_natural_spline_between_them():
    # a ramp along H read at o + u(o) shows u; nodes lie at voxels 0, 4, 8 of H
    ramp = torch.arange(9.0).reshape(1, 1, 9, 1).expand(1, 5, 9, 5)
    shifts = np.zeros((3, 3, 3, 3))
    y0, y1, y2 = 1.0, 0.5, -1.0
    shifts[1] = np.reshape([y0, y1, y2], (1, 3, 1))
    moved = deform(ramp, shifts)[0, 2, :, 3] - torch.arange(9.0)
    bend = 1.5 * (y0 - 2 * y1 + y2)  # second derivative at the middle node, zero at the ends
    between = [(y0 + y1) / 2 - bend / 16, (y1 + y2) / 2 - bend / 16]
    assert moved[[0, 2, 4, 6, 8]].tolist() == pytest.approx([y0, between[0], y1, between[1], y2], abs=1e-4)


def test_shifts_are_normal_with_the_standard_deviation_asked_for():
    transform = RandControlPointElasticd("image", prob=1.0, points=20, sigma=2.0).set_random_state(0)
    transform.randomize()
    assert transform.shifts.shape == (3, 20, 20, 20)
    assert transform.shifts.mean() == pytest.approx(0, abs=0.05)
    assert transform.shifts.std() == pytest.approx(2, rel=0.02)


def test_image_and_label_move_together_and_a_label_keeps_its_values_and_type():
    label = (torch.rand(1, 16, 16, 16) > 0.5).to(torch.uint8) * 3
    transform = RandControlPointElasticd(["image", "label"], prob=1.0, mode="nearest").set_random_state(1)
    out = transform({"image": label.float(), "label": label})
    assert out["label"].dtype is torch.uint8 and out["label"].unique().tolist() == [0, 3]
    assert torch.equal(out["image"], out["label"].float()) and not torch.equal(out["label"], label)


def test_metadata_stays():
    volume = MetaTensor(torch.rand(1, *SHAPE), affine=torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0])))
    out = RandControlPointElasticd("image", prob=1.0)({"image": volume})["image"]
    assert torch.equal(out.affine, volume.affine)


def test_half_of_all_volumes_stay_as_they_are():
    transform = RandControlPointElasticd("image", prob=0.5).set_random_state(2)
    volume = torch.rand(1, 4, 4, 4)
    same = [transform({"image": volume})["image"] is volume for _ in range(1000)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.05)


def test_a_single_point_is_refused():
    with pytest.raises(ValueError, match="at least 2 points per axis, got 1"):
        RandControlPointElasticd("image", points=1)
