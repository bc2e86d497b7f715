"""Signed distance maps against scipy and against lines worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Flipd, Orientationd
from scipy.ndimage import binary_erosion, distance_transform_edt

from common.transforms import SignedDistanceMapd


def labeled(mask: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> dict[str, MetaTensor]:
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return {"label": MetaTensor(torch.from_numpy(mask[None].astype(np.float32)), affine=affine)}


def line(*values: int) -> np.ndarray:
    return np.array(values).reshape(1, 1, -1)


@pytest.fixture
def blobs() -> np.ndarray:
    """Two objects of irregular shape, one of them at the border of the volume."""
    z, y, x = np.indices((14, 17, 19))
    ball = (z - 6) ** 2 + 1.5 * (y - 8) ** 2 + (x - 6) ** 2 < 30
    return ball | ((z > 9) & (y > 11) & (x > 13)) & ~((z == 11) & (y == 13))


def scipy_map(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    outside = distance_transform_edt(~mask, sampling=spacing)
    return np.where(mask, min(spacing) - distance_transform_edt(mask, sampling=spacing), outside)


@pytest.mark.parametrize("spacing", [(0.625, 0.625, 0.625), (1.37, 1.25, 1.25), (5.0, 0.8, 0.7)])
def test_map_in_mm_equals_scipy_with_the_spacing(blobs, spacing):
    distance = SignedDistanceMapd(unit="mm")(labeled(blobs, spacing))["distance"]
    np.testing.assert_allclose(distance[0].numpy(), scipy_map(blobs, spacing), atol=1e-5)


def test_map_in_voxels_equals_scipy_whatever_the_spacing(blobs):
    distance = SignedDistanceMapd(unit="voxel")(labeled(blobs, (5.0, 0.8, 0.7)))["distance"]
    np.testing.assert_allclose(distance[0].numpy(), scipy_map(blobs, (1, 1, 1)), atol=1e-5)


def test_spacing_follows_the_axes_after_reorientation(blobs):
    data = labeled(blobs.transpose(2, 1, 0), (0.7, 0.8, 5.0))  # (x, y, z), as readers give it
    data = SignedDistanceMapd()(Orientationd(keys="label", axcodes="SAR", labels=None)(data))
    mask = data["label"][0].numpy() > 0
    np.testing.assert_allclose(data["distance"][0].numpy(), scipy_map(mask, (5.0, 0.8, 0.7)), atol=1e-5)


@pytest.mark.parametrize(
    ("unit", "expected"), [("voxel", [2, 1, 0, -1, -1, 0, 1]), ("mm", [1.0, 0.5, 0, -0.5, -0.5, 0, 0.5])]
)
def test_counts_from_the_outermost_voxel_of_the_object(unit, expected):
    data = labeled(line(0, 0, 1, 1, 1, 1, 0), (0.5, 0.5, 0.5))
    assert SignedDistanceMapd(unit=unit)(data)["distance"].flatten().tolist() == expected


def test_outermost_voxels_of_the_object_have_distance_zero(blobs):
    distance = SignedDistanceMapd(unit="voxel")(labeled(blobs))["distance"][0].numpy()
    border = blobs & ~binary_erosion(blobs, border_value=1)
    assert np.all(distance[border] == 0)


def test_no_voxel_of_the_object_is_positive_in_anisotropic_voxels(blobs):
    distance = SignedDistanceMapd(unit="mm")(labeled(blobs, (5.0, 0.8, 0.7)))["distance"][0].numpy()
    assert distance[blobs].max() <= 0


@pytest.mark.parametrize("value", [0, 1], ids=["empty", "full"])
@pytest.mark.parametrize("normalize", [False, True])
def test_label_without_a_border_gives_zeros(value, normalize):
    distance = SignedDistanceMapd(normalize=normalize)(labeled(np.full((4, 5, 6), value)))["distance"]
    assert torch.equal(distance.as_tensor(), torch.zeros(1, 4, 5, 6))


def test_normalized_map_keeps_its_proportions_and_reaches_one():
    data = labeled(line(0, 0, 0, 0, 1, 1, 1), (1.0, 1.0, 2.5))
    assert SignedDistanceMapd(unit="voxel", normalize=True)(data)["distance"].flatten().tolist() == pytest.approx(
        [1.0, 0.75, 0.5, 0.25, 0.0, -0.25, -0.5]
    )


def test_map_is_float32_and_lies_where_the_label_lies(blobs):
    data = SignedDistanceMapd()(labeled(blobs, (5.0, 0.8, 0.7)))
    assert data["distance"].dtype == torch.float32
    assert torch.equal(data["distance"].affine, data["label"].affine)


def test_map_moves_with_the_label(blobs):
    flip = Flipd(keys=["label", "distance"], spatial_axis=1)
    moved = flip(SignedDistanceMapd()(labeled(blobs, (5.0, 0.8, 0.7))))
    again = SignedDistanceMapd(output_key="again")(moved)
    torch.testing.assert_close(again["again"].as_tensor(), moved["distance"].as_tensor())


def test_leaves_the_label_alone(blobs):
    data = labeled(blobs)
    before = data["label"].clone()
    SignedDistanceMapd(normalize=True)(data)
    assert torch.equal(data["label"], before)


def test_takes_label_values_of_255(blobs):
    a = SignedDistanceMapd()(labeled(blobs * 255))["distance"]
    b = SignedDistanceMapd()(labeled(blobs))["distance"]
    assert torch.equal(a.as_tensor(), b.as_tensor())


def test_refuses_mm_without_an_affine():
    with pytest.raises(ValueError, match="'label' carries no affine"):
        SignedDistanceMapd(unit="mm")({"label": torch.ones(1, 2, 2, 2)})


def test_refuses_two_channels():
    with pytest.raises(ValueError, match="one channel, got 2"):
        SignedDistanceMapd(unit="voxel")({"label": torch.ones(2, 2, 2, 2)})


def test_refuses_an_unknown_unit():
    with pytest.raises(ValueError, match="'mm' or 'voxel', got 'cm'"):
        SignedDistanceMapd(unit="cm")


def test_refuses_two_labels():
    with pytest.raises(ValueError, match="the maps of one label"):
        SignedDistanceMapd(keys=["label", "other"])


def test_passes_a_case_without_label_when_told_to():
    assert SignedDistanceMapd(allow_missing_keys=True)({"image": 1}) == {"image": 1}
