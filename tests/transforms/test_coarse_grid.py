"""The locator's grid against block means and nibabel's voxel sizes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from common.transforms import CoarseGridd, SpacingGrid
from common.transforms.coarse_grid import coarse_shape, resize_area, spacing_of


def volume(shape: tuple[int, ...], spacing: tuple[float, ...]) -> MetaTensor:
    return MetaTensor(torch.rand(1, *shape), affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)))


def test_spacing_is_nibabels_for_an_oblique_affine():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (0.5, -0.3, 1.0)).as_matrix() * (0.7, 0.9, 1.6)
    assert spacing_of(MetaTensor(torch.zeros(1, 2, 2, 2), affine=affine)) == pytest.approx(
        nibabel.affines.voxel_sizes(affine)
    )


def test_volume_without_an_affine_has_voxels_of_1_mm():
    assert spacing_of(torch.zeros(1, 2, 2, 2)) == (1.0, 1.0, 1.0)


def test_challenge_frame_has_the_published_coarse_shape():
    assert coarse_shape((96, 640, 640), (0.625,) * 3, (1.25, 2.5, 2.5)) == (48, 160, 160)


def test_coarse_voxel_is_the_mean_of_those_it_covers():
    fine = torch.rand(1, 8, 12, 6)
    blocks = fine[0].reshape(4, 2, 3, 4, 6, 1).mean((1, 3, 5))
    torch.testing.assert_close(resize_area(fine, (4, 3, 6))[0], blocks)


def test_image_and_label_land_on_one_grid():
    label = volume((20, 33, 27), (1.0, 0.8, 0.8))
    label[:] = 0
    label[:, 4:13, 11:24, 5:20] = 1
    out = CoarseGridd(["image", "label"], spacing=(2.0, 1.6, 1.6), divisor=1)(
        {"image": label.clone() * 9, "label": label}
    )
    factors = np.array([20, 33, 27]) / out["image"].shape[1:]
    for coarse in (out["image"], out["label"]):
        center = (np.array(center_of_mass(coarse[0].numpy())) + 0.5) * factors - 0.5
        np.testing.assert_allclose(center, [8, 17, 12], atol=0.5)


def test_label_is_binary_and_half_counts_as_structure():
    label = volume((4, 4, 4), (1.0, 1.0, 1.0))
    label[:] = 0
    label[:, :1] = 1  # half of the first coarse slice
    out = CoarseGridd("label", spacing=(2.0, 2.0, 2.0), divisor=1)({"label": label})["label"]
    np.testing.assert_array_equal(out[0, :, 0, 0], [1, 0])


def test_padding_is_zero_and_at_the_far_ends():
    image = volume((20, 20, 20), (1.0, 1.0, 1.0))
    out = CoarseGridd("image", spacing=(1.0, 1.0, 1.0), divisor=16)({"image": image})["image"]
    assert out.shape == (1, 32, 32, 32)
    np.testing.assert_allclose(out[:, :20, :20, :20], image)
    assert out.sum() == out[:, :20, :20, :20].sum()


def test_the_longest_side_of_a_small_volume_is_twice_the_divisor():
    coarse, shape = SpacingGrid((1.0, 1.0, 1.0))(volume((3, 16, 5), (1.0, 1.0, 1.0)))
    assert (coarse.shape[1:], shape) == ((16, 16, 32), (3, 16, 5))
