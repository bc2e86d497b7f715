"""Resizing with aligned corners, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter, zoom

from common.transforms import AlignedResized, PerLabelResized, resize_aligned

SHAPES = [((20, 31, 17), (12, 12, 12)), ((9, 14, 11), (24, 16, 20)), ((16, 16, 16), (16, 9, 31))]


def zoomed(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = [t / s for s, t in zip(array.shape, shape, strict=True)]
    return zoom(array.astype(np.float64), factors, order=1, output=np.float64)


def organs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Blobs of the labels 0 to 4 that touch each other."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.standard_normal(shape), 2) for _ in range(5)])
    return fields.argmax(axis=0).astype(np.uint8)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_an_image_is_resized_as_scipy_zooms_it(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    volume = np.random.default_rng(1).uniform(-1000, 1000, old)
    resized = resize_aligned(torch.as_tensor(volume)[None], new)
    np.testing.assert_allclose(resized[0].numpy(), zoomed(volume, new), atol=1e-9)


def test_corners_stay_and_between_them_values_are_linear() -> None:
    ramp = torch.arange(5.0).reshape(1, 5, 1, 1).expand(1, 5, 2, 2)
    resized = resize_aligned(ramp, (9, 2, 2))
    assert resized[0, :, 0, 0].tolist() == pytest.approx(np.arange(0, 4.5, 0.5))


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_a_label_covers_what_half_of_its_zoomed_mask_covers_and_higher_labels_win(
    old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    volume = organs(old)
    expected = np.zeros(new, np.uint8)
    for label in (1, 2, 3, 4):
        expected[zoomed(volume == label, new) >= 0.5 - 1e-9] = label
    resized = PerLabelResized("label", new)({"label": torch.as_tensor(volume)[None]})["label"]
    assert resized.dtype == torch.uint8
    np.testing.assert_array_equal(resized[0].numpy(), expected)


def test_a_voxel_halfway_between_two_labels_takes_the_higher() -> None:
    labels = torch.tensor([3, 1], dtype=torch.uint8).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
    resized = PerLabelResized("label", (3, 2, 2))({"label": labels})["label"]
    assert resized[0, :, 0, 0].tolist() == [3, 3, 1]


def test_a_value_that_is_no_label_becomes_background() -> None:
    labels = torch.tensor([1, 5], dtype=torch.uint8).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
    resized = PerLabelResized("label", (2, 2, 2), labels=[1])({"label": labels})["label"]
    assert resized[0, :, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize("transform", [AlignedResized("image", (9, 11, 25)), PerLabelResized("image", (9, 11, 25))])
def test_the_affine_still_places_the_last_voxel_where_it_was(transform) -> None:
    affine = torch.tensor([[0, 0, 2.0, 5], [0, 1.5, 0, -7], [3.0, 0, 0, 11], [0, 0, 0, 1]], dtype=torch.float64)
    volume = MetaTensor(torch.ones(1, 4, 6, 8, dtype=torch.uint8), affine=affine)
    resized = transform({"image": volume})["image"]
    last, new_last = (torch.tensor([*(n - 1 for n in v.shape[1:]), 1.0]).double() for v in (volume, resized))
    torch.testing.assert_close(resized.affine @ new_last, affine @ last)
    assert volume.affine is not resized.affine
    torch.testing.assert_close(volume.affine, affine)


def test_integers_are_resized_without_rounding() -> None:
    volume = torch.tensor([0, 1], dtype=torch.int16).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
    resized = AlignedResized("image", (3, 2, 2))({"image": volume})["image"]
    assert resized.dtype == torch.float32
    assert resized[0, :, 0, 0].tolist() == [0, 0.5, 1]
