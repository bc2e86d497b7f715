"""What an image's header says about its place is what the answer's header says, for nibabel and for ITK."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.transforms import LabelsOnOriginalGridd, SaveImageAsPredictiond, load_on_grid

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (0.3, -0.2, 0.4)).as_matrix() * (0.7, 0.9, 1.6)
OBLIQUE[:3, 3] = (-31.0, 17.0, 55.0)
UPRIGHT = np.diag([-0.7, 0.9, 1.6, 1.0])
UPRIGHT[:3, 3] = (12.25, -7.125, 30.5)
MICRO = np.diag([1e3, 1e3, 1e3, 1.0])
FIELDS = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
FIELDS += ["srow_x", "srow_y", "srow_z"]

PLACES = {  # (qform, its code), (sform, its code), unit
    "both alike": ((OBLIQUE, 1), (OBLIQUE, 1), "mm"),
    "sform only": ((None, 0), (OBLIQUE, 2), "mm"),
    "qform only": ((OBLIQUE, 1), (None, 0), "mm"),
    "sform only, its code 4": ((None, 0), (UPRIGHT, 4), "unknown"),
    "qform beside a sform of code 0": ((UPRIGHT, 2), (OBLIQUE, 0), "mm"),
    "both, differing": ((UPRIGHT, 1), (OBLIQUE, 4), "mm"),
    "both, codes 2 and 1": ((UPRIGHT, 2), (UPRIGHT, 1), "unknown"),
    "neither": ((None, 0), (None, 0), "mm"),
    "micrometers": ((MICRO @ UPRIGHT, 1), (MICRO @ UPRIGHT, 1), "micron"),
}


def scan(path: Path, place: str, version: type = nib.Nifti1Image) -> Path:
    (qform, qcode), (sform, scode), unit = PLACES[place]
    volume = np.random.default_rng(0).integers(0, 1000, (9, 8, 7)).astype(np.int16)
    image = version(volume, None)
    image.header.set_zooms(np.multiply((0.7, 0.9, 1.6), 1e3 if unit == "micron" else 1))
    image.header.set_qform(qform, qcode)
    image.header.set_sform(sform, scode)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def answer(image: Path, output_dir: Path) -> Path:
    """The image's brighter half, there and back through the network's grid."""
    data = load_on_grid(["image"], spacing=(2.0, 1.0, 1.0))({"case": "a", "image": str(image)})
    data["pred"] = (data["image"] > 500).float()
    SaveImageAsPredictiond("pred", output_dir)(LabelsOnOriginalGridd("pred")(data))
    (path,) = output_dir.iterdir()
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("place", PLACES)
def test_both_matrices_their_codes_and_units_are_the_images(tmp_path: Path, place: str, suffix: str) -> None:
    image = scan(tmp_path / f"a{suffix}", place)
    path = answer(image, tmp_path / "out")
    assert path.name == f"a_seg{suffix}"
    before, after = nib.load(image).header, nib.load(path).header
    assert {name: before[name].tolist() for name in FIELDS} == {name: after[name].tolist() for name in FIELDS}
    assert before["pixdim"][:4].tolist() == after["pixdim"][:4].tolist()
    assert before.get_xyzt_units()[0] == after.get_xyzt_units()[0]
    assert after.get_data_dtype() == np.uint8


@pytest.mark.parametrize("place", PLACES)
def test_itk_finds_the_answer_where_it_finds_the_image(tmp_path: Path, place: str) -> None:
    path = scan(tmp_path / "a.nii.gz", place)
    image, labels = itk.imread(str(path)), itk.imread(str(answer(path, tmp_path / "out")))
    assert tuple(labels.GetOrigin()) == tuple(image.GetOrigin())
    assert tuple(labels.GetSpacing()) == tuple(image.GetSpacing())
    np.testing.assert_array_equal(
        itk.array_from_matrix(labels.GetDirection()), itk.array_from_matrix(image.GetDirection())
    )


def test_a_nifti_2_file_is_answered_by_one(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.nii", "both, differing", nib.Nifti2Image)
    labels = nib.load(answer(path, tmp_path / "out"))
    assert isinstance(labels, nib.Nifti2Image)
    np.testing.assert_array_equal(labels.get_qform(), nib.load(path).get_qform())


def test_an_image_of_several_channels_leaves_its_place_and_no_time_to_the_answer(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 1000, (9, 8, 7, 2)).astype(np.int16), OBLIQUE)
    image.set_qform(UPRIGHT, code=1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    data = load_on_grid(["image"], channel_order=[1, 0])({"case": "a", "image": str(tmp_path / "a.nii.gz")})
    data["pred"] = torch.ones_like(data["image"][:1])
    SaveImageAsPredictiond("pred", tmp_path / "out")(LabelsOnOriginalGridd("pred")(data))
    labels = nib.load(tmp_path / "out/a_seg.nii.gz")
    assert labels.shape == (9, 8, 7)
    assert labels.header.get_xyzt_units() == ("mm", "unknown")
    np.testing.assert_array_equal(labels.get_sform(), nib.load(tmp_path / "a.nii.gz").get_sform())
    np.testing.assert_array_equal(labels.get_qform(), nib.load(tmp_path / "a.nii.gz").get_qform())
