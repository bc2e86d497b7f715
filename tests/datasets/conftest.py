"""Small cases on disk."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def write_case(tmp_path):
    """Write ``<name>/{image,label}.nii.gz`` and return its item; keyword arguments replace parts of a good case."""

    def write(name="a", *, image=None, label=None, affine=None, label_affine=None) -> dict[str, str]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        image = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32) if image is None else image
        if label is None:
            label = np.zeros((6, 5, 4), np.uint8)
            label[2:4, 2, 2] = 1
        affine = np.diag([-1.25, -1.25, 2.5, 1.0]) if affine is None else affine
        label_affine = affine if label_affine is None else label_affine
        nib.save(nib.Nifti1Image(image, affine), folder / "image.nii.gz")
        nib.save(nib.Nifti1Image(label, label_affine), folder / "label.nii.gz")
        return {"case": name, "image": str(folder / "image.nii.gz"), "label": str(folder / "label.nii.gz")}

    return write


@pytest.fixture
def challenge_folder(tmp_path) -> Path:
    """A folder of two patients in the atrial challenge's layout; the files hold nothing."""
    for patient in ("B", "A"):
        (tmp_path / "data" / patient).mkdir(parents=True)
        for name in ("lgemri.nrrd", "laendo.nrrd"):
            (tmp_path / "data" / patient / name).touch()
    return tmp_path / "data"
