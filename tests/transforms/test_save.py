"""Predictions as files: read back with nibabel and ITK."""

from __future__ import annotations

import itk
import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms import SaveImageAsPredictiond, prediction_path

AFFINE = np.array([[-0.6, 0, 0, 10], [0, 0.6, 0, -5], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])


def item(source: str, values: tuple[int, ...] = (0, 1)) -> dict:
    labels = torch.zeros(1, 5, 6, 7)
    labels[0, 1, 2, 3] = values[-1]
    image = MetaTensor(torch.zeros(1, 5, 6, 7), affine=AFFINE, meta={"filename_or_obj": source})
    image.meta |= {"original_affine": AFFINE, "spatial_shape": (5, 6, 7)}
    return {"case": "p1", "image": image, "pred": MetaTensor(labels, affine=AFFINE)}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("scans/p1/lgemri.nrrd", "p1_seg.nrrd"),
        ("la_003.nii.gz", "p1_seg.nii.gz"),
        ("la_003.NII", "p1_seg.nii"),
        ("x.mha", "p1_seg.mha"),
        ("x.mhd", "p1_seg.mha"),
        ("x.nhdr", "p1_seg.nrrd"),
        ("scans/series_7", "p1_seg.nii.gz"),
        ("scans/slice_001.dcm", "p1_seg.nii.gz"),
    ],
)
def test_prediction_has_the_images_format_and_a_dicom_series_becomes_nifti(tmp_path, image, name):
    assert prediction_path(tmp_path, "p1", image) == tmp_path / name


@pytest.mark.parametrize("source", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_file_holds_unsigned_bytes_of_0_and_255(tmp_path, source):
    SaveImageAsPredictiond("pred", tmp_path, scale=255)(item(source))
    file = prediction_path(tmp_path, "p1", source)
    array = (
        np.asarray(nibabel.load(file).dataobj)
        if source.endswith("nii.gz")
        else itk.array_from_image(itk.imread(file)).T
    )
    assert array.dtype == np.uint8
    assert np.argwhere(array == 255).tolist() == [[1, 2, 3]]
    assert np.unique(array).tolist() == [0, 255]


def test_values_beyond_a_byte_take_two(tmp_path):
    SaveImageAsPredictiond("pred", tmp_path)(item("a.nii.gz", (0, 500)))
    array = np.asarray(nibabel.load(tmp_path / "p1_seg.nii.gz").dataobj)
    assert (array.dtype, array.max()) == (np.uint16, 500)


def test_empty_prediction_is_a_file_of_zeros(tmp_path):
    SaveImageAsPredictiond("pred", tmp_path, scale=255)(item("a.nii.gz", (0, 0)))
    array = np.asarray(nibabel.load(tmp_path / "p1_seg.nii.gz").dataobj)
    assert (array.dtype, array.shape, array.max()) == (np.uint8, (5, 6, 7), 0)


def test_write_that_fails_halfway_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path, monkeypatch):
    def full_disk(image, filename):
        with open(filename, "wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    (tmp_path / "p1_seg.nii.gz").write_bytes(b"earlier prediction")
    monkeypatch.setattr(nibabel, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        SaveImageAsPredictiond("pred", tmp_path)(item("a.nii.gz"))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("p1_seg.nii.gz", b"earlier prediction")]


def test_a_prediction_on_another_grid_than_the_file_is_refused_by_name(tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.6
    with pytest.raises(
        ValueError, match=r"a\.nii\.gz: the prediction's affine differs from the image's, by up to 0\.6 mm"
    ):
        SaveImageAsPredictiond("pred", tmp_path)(
            item("a.nii.gz") | {"pred": MetaTensor(torch.zeros(1, 5, 6, 7), affine=shifted)}
        )
    with pytest.raises(ValueError, match=r"the prediction's shape \(5, 6, 6\) differs"):
        SaveImageAsPredictiond("pred", tmp_path)(
            item("a.nii.gz") | {"pred": MetaTensor(torch.zeros(1, 5, 6, 6), affine=AFFINE)}
        )
    assert not list(tmp_path.iterdir())


def test_prediction_without_an_affine_is_refused(tmp_path):
    with pytest.raises(TypeError, match="no affine"):
        SaveImageAsPredictiond("pred", tmp_path)(item("a.nii.gz") | {"pred": torch.zeros(1, 5, 6, 7)})
    assert not list(tmp_path.iterdir())
