"""Loading onto the network's grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from common.transforms import load_on_grid


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    """A volume of 8 x 6 x 4 voxels stored as RAS, 1 x 1 x 2 mm, whose label has the values 0, 1 and 2."""
    image = np.arange(8 * 6 * 4, dtype=np.float32).reshape(8, 6, 4)
    label = np.zeros((8, 6, 4), np.uint8)
    label[2:6, 2:6, :] = 1
    label[4:6, 2:4, :] = 2
    for name, array in (("image", image), ("label", label)):
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / f"{name}.nii.gz")
    return {name: str(tmp_path / f"{name}.nii.gz") for name in ("image", "label")}


def test_axes_become_slice_row_column(case: dict[str, str]) -> None:
    data = load_on_grid()(case)
    stored = np.asanyarray(nib.load(case["image"]).dataobj)
    np.testing.assert_array_equal(data["image"][0], stored.transpose(2, 1, 0))


def test_labels_become_foreground_by_default(case: dict[str, str]) -> None:
    assert load_on_grid()(case)["label"].unique().tolist() == [0, 1]


def test_at_half_resolution_a_voxel_is_the_mean_of_the_eight_around_its_center(case: dict[str, str]) -> None:
    data = load_on_grid(spacing=(4.0, 2.0, 2.0))(case)
    stored = np.asanyarray(nib.load(case["image"]).dataobj).transpose(2, 1, 0)
    around = np.pad(stored, ((1, 0), (1, 0), (1, 0)), mode="edge")[:4, :6, :8]
    np.testing.assert_allclose(data["image"][0], around.reshape(2, 2, 3, 2, 4, 2).mean((1, 3, 5)), rtol=1e-5)
    center = data["image"].affine.numpy() @ [1, 1, 1, 1]  # mm of voxel (1, 1, 1)
    np.testing.assert_allclose(center[:3], [1.5, 1.5, 3.0])


def test_classes_keep_their_values_through_resampling(case: dict[str, str]) -> None:
    label = load_on_grid(spacing=(4.0, 2.0, 2.0), classes=True)(case)["label"]
    assert label.dtype.itemsize == 1
    np.testing.assert_array_equal(label[0, 0].numpy(), [[0, 0, 0, 0], [0, 1, 2, 0], [0, 1, 1, 0]])


def test_label_values_become_the_numbers_of_their_classes(tmp_path):
    values = np.array([0, 1, 2, 4] * 2, np.uint8).reshape(2, 2, 2)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "label.nii.gz")
    load = load_on_grid(("label",), classes=True, class_values=(0, 1, 4, 2), axcodes="RAS")
    label = load({"label": str(tmp_path / "label.nii.gz")})["label"][0]
    assert label.dtype == torch.uint8
    assert label.flatten().tolist() == [{0: 0, 1: 1, 4: 2, 2: 3}[v] for v in values.flatten().tolist()]
