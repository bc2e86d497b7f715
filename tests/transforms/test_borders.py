"""The border map, against surfaces of which the answer is known by hand."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from common.transforms import BorderMapd
from common.transforms.borders import border_map


def test_a_plane_has_a_band_of_both_its_sides_grown_by_six_voxels():
    label = np.zeros((5, 6, 40), dtype=np.uint8)
    label[:, :, :20] = 1
    band = border_map(label)
    assert np.flatnonzero(band[2, 3]).tolist() == list(range(19 - 6, 20 + 6 + 1))


def test_a_single_voxel_has_a_band_of_15_voxels_per_side():
    label = np.zeros((31, 31, 31), dtype=np.uint8)
    label[15, 15, 15] = 1
    expected = np.zeros_like(label, dtype=bool)
    expected[8:23, 8:23, 8:23] = True  # the Sobel filters answer in 3 x 3 x 3, grown by 6
    assert np.array_equal(border_map(label), expected)


def test_the_voxel_itself_is_no_edge():
    label = np.zeros((5, 5, 5), dtype=np.uint8)
    label[2, 2, 2] = 1
    assert border_map(label, radius=0).sum() == 3**3 - 1


def test_the_volumes_own_border_is_none():
    assert not border_map(np.ones((9, 9, 9), dtype=np.uint8)).any()
    assert not border_map(np.zeros((9, 9, 9), dtype=np.uint8)).any()


def test_the_surface_between_two_classes_counts():
    label = torch.ones(1, 3, 3, 20)
    label[..., 10:] = 2
    border = BorderMapd(radius=0, values=[[0], [1], [2]])({"label": label})["border"]
    assert border.shape == (2, 3, 3, 20)
    assert [np.flatnonzero(band[1, 1]).tolist() for band in border] == [[9, 10]] * 2


def test_a_region_has_no_surface_between_its_own_values():
    label = torch.zeros(1, 3, 3, 20)
    label[..., 5:], label[..., 10:] = 1, 2
    border = BorderMapd(radius=0, values=[[1, 2], [2]])({"label": label})["border"]
    assert [np.flatnonzero(band[1, 1]).tolist() for band in border] == [[4, 5], [9, 10]]


def test_keeps_the_labels_geometry():
    affine = torch.diag(torch.tensor([2.0, 1.0, 3.0, 1.0], dtype=torch.float64))
    label = MetaTensor(torch.zeros(1, 9, 9, 9), affine=affine)
    label[0, 4, 4, 4] = 1
    out = BorderMapd(radius=1, values=[[1]])({"label": label})
    assert torch.equal(out["border"].affine, affine)
    assert out["border"].dtype == torch.uint8 and out["border"].sum() == 5**3
