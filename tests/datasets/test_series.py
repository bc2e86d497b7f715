"""DICOM as archives, discs and scanners leave it: nested folders, other objects beside the slices, no preamble."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from monai.transforms import LoadImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from common.datasets import DataError, inference_datalist
from common.transforms import register_readers
from tests.datasets.test_formats import write_dicom
from tests.volumes import AFFINE, scan

OTHERS = {  # PS3.4, B.5
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "DICOMDIR": "1.2.840.10008.1.3.10",
}


def write_other(folder: Path, kind: str) -> Path:
    """An object that is no slice; the segmentation and the dose have pixels all the same."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = OTHERS[kind]
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = OTHERS[kind], meta.MediaStorageSOPInstanceUID
    file.Modality, file.SeriesInstanceUID, file.StudyInstanceUID = kind[:16], generate_uid(), generate_uid()
    if kind in ("SEG", "RTDOSE"):
        file.Rows, file.Columns, file.NumberOfFrames, file.BitsAllocated, file.BitsStored, file.HighBit = (
            4,
            4,
            2,
            8,
            8,
            7,
        )
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.PixelData = bytes(32)
    path = folder / ("DICOMDIR" if kind == "DICOMDIR" else f"AA_{kind}.dcm")
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def cases(source: Path) -> dict[str, str]:
    return {item["case"]: item["image"] for item in inference_datalist(source)}


def load(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    reader = LoadImage(image_only=True)
    register_readers(reader)
    volume = reader(path)
    return volume.numpy(), volume.affine.numpy()


def test_every_series_in_folders_of_patients_and_studies_is_a_case(tmp_path):
    for name in ("P1/STUDY1/T1", "P1/STUDY1/T2", "P2/STUDY1/FLAIR"):
        write_dicom(tmp_path / name, range(3))
    expected = {"T1": "P1/STUDY1/T1", "T2": "P1/STUDY1/T2", "FLAIR": "P2/STUDY1/FLAIR"}
    assert cases(tmp_path) == {case: str(tmp_path / path) for case, path in expected.items()}


def test_series_of_one_name_are_told_apart_by_as_many_folders_as_it_takes(tmp_path):
    for name in ("P1/S1/T1", "P1/S2/T1", "P2/S1/T1", "P2/S1/T2"):
        write_dicom(tmp_path / name, range(2))
    assert list(cases(tmp_path)) == ["P1_S1_T1", "S2_T1", "P2_S1_T1", "T2"]


def test_a_series_with_further_series_in_folders_below_hides_none(tmp_path):
    write_dicom(tmp_path / "P1", range(2))
    write_dicom(tmp_path / "P1/later", range(2))
    assert list(cases(tmp_path)) == ["P1", "later"]
    assert list(cases(tmp_path / "P1")) == ["P1", "later"]


def test_a_link_back_to_a_folder_above_is_named_and_not_followed(tmp_path, caplog):
    write_dicom(tmp_path / "P1/S1", range(2))
    (tmp_path / "P1/back").symlink_to(tmp_path)
    assert list(cases(tmp_path)) == ["S1"]
    assert "left out 1 (a link back to a folder above it): back" in caplog.text


@pytest.mark.parametrize("kind", OTHERS)
def test_other_objects_beside_the_slices_do_not_matter(tmp_path, kind):
    series = write_dicom(tmp_path / "S1")
    write_other(series, kind)
    assert list(cases(tmp_path)) == ["S1"]
    volume, affine = load(series)
    np.testing.assert_array_equal(volume, scan())
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind != "DICOMDIR"])
def test_a_folder_of_other_objects_alone_is_left_out_by_name(tmp_path, caplog, kind):
    write_dicom(tmp_path / "P1/CT", range(2))
    write_other(tmp_path / "P1/plan", kind)
    assert list(cases(tmp_path)) == ["CT"]
    assert f"DICOM without slices, such as reports, plans and segmentations): AA_{kind}.dcm" in caplog.text


def test_a_file_that_is_no_slice_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"AA_SR\.dcm: not an image; expected .* or a slice of DICOM"):
        inference_datalist(write_other(tmp_path, "SR"))


@pytest.mark.parametrize("meta", [True, False])
def test_slices_without_preamble_are_read(tmp_path, meta):
    """With the file's meta information (explicit VR) and without it (PS3.10, 7.1): both are found in archives."""
    series = write_dicom(tmp_path / "S1")
    for path in series.iterdir():
        file = pydicom.dcmread(path)
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        file.preamble = None
        if not meta:
            del file.file_meta
        file.save_as(path, enforce_file_format=False, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    assert cases(tmp_path) == {"S1": str(series)}
    volume, affine = load(series)
    np.testing.assert_array_equal(volume, scan())
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
    np.testing.assert_array_equal(load(series / "IM000")[0].squeeze(), scan()[..., 0])


def test_all_series_in_one_folder_are_named_with_their_numbers_and_what_to_do(tmp_path):
    for number, name in enumerate(("A", "B", "C"), start=1):
        series = write_dicom(tmp_path / "S", range(number + 1), prefix=name)
        for path in series.glob(f"{name}*"):
            file = pydicom.dcmread(path)
            file.SeriesNumber, file.SeriesDescription = number, f"axial {name}"
            file.save_as(path)
    with pytest.raises(ValueError, match=r"holds 3 DICOM series .*give each a folder of its own") as error:
        load(tmp_path / "S")
    named = [f'series {n} "axial {name}", {n + 1} files from {name}000' for n, name in ((1, "A"), (2, "B"), (3, "C"))]
    assert f"({'; '.join(named)})" in str(error.value)


def test_files_whose_names_are_no_utf_8_are_refused_by_name(tmp_path):
    series = write_dicom(tmp_path / "S1", range(3))
    (series / "IM007").rename(series / os.fsdecode(b"IM\xe9"))
    with pytest.raises(ValueError, match="the name IM\udce9 is no UTF-8, and ITK cannot open it; rename it"):
        load(series)


def test_a_series_in_a_folder_whose_name_is_no_utf_8_is_refused_by_name(tmp_path):
    series = write_dicom(tmp_path / os.fsdecode(b"S\xe9"), range(3))
    with pytest.raises(ValueError, match="S\udce9: the name is no UTF-8, and ITK, which"):
        load(series)


@pytest.mark.parametrize("keep", [0, 300, -400], ids=["empty", "cut off in its header", "cut off in its pixels"])
@pytest.mark.parametrize("name", ["IM000", "IM001"], ids=["first", "in the middle"])
def test_a_damaged_slice_is_named_and_not_left_out(tmp_path, keep, name):
    file = write_dicom(tmp_path / "S1") / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"S1: {name} is empty or damaged, so that a slice may be missing"):
        load(tmp_path / "S1")


def write_frames(file, positions):
    """One enhanced object with a frame at each of these places (z in mm), or with none stated where it is None."""
    write_dicom(file.parent / "slices")
    slices = {p: pydicom.dcmread(p) for p in (file.parent / "slices").iterdir()}
    first, *_ = ordered = sorted(slices.values(), key=lambda read: read.InstanceNumber)
    shared, measures, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.9, 0.7], 2
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    if positions is not None:
        first.SharedFunctionalGroupsSequence, first.PerFrameFunctionalGroupsSequence = [shared], []
    for z in positions or ():
        frame, place = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient, frame.PlanePositionSequence = [-10, 5, z], [place]
        first.PerFrameFunctionalGroupsSequence.append(frame)
    first.PixelData, first.NumberOfFrames = b"".join(read.PixelData for read in ordered), len(ordered)
    first.SOPClassUID = first.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    for tag in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness"):
        delattr(first, tag)
    first.save_as(file)
    return file


def test_frames_of_one_file_lie_where_they_say(tmp_path):
    volume, affine = load(write_frames(tmp_path / "a.dcm", [2 * k for k in range(16)]))
    np.testing.assert_array_equal(volume, scan())
    np.testing.assert_allclose(affine, [[-0.7, 0, 0, 10], [0, -0.9, 0, -5], [0, 0, 2, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (None, "has no PixelSpacing: its size or place is unknown"),
        ([2 * k + 30 * (k > 7) for k in range(16)], "16 frames do not say|not evenly spaced"),
        ([2 * (k % 8) for k in range(16)], "16 frames do not say|not evenly spaced"),
    ],
    ids=["nowhere", "with a gap", "twice"],
)
def test_frames_of_unknown_place_are_refused(tmp_path, positions, reason):
    with pytest.raises(ValueError, match=reason):
        load(write_frames(tmp_path / "a.dcm", positions))
