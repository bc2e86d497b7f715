"""What a person points inference at comes back in the patient's place: every format, DICOM series, lists."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from common.transforms import LoadImageAsVolumed
from tests.volumes import AFFINE, CONFIG, LPS, SHAPE, VOXEL, center, inference, predict, read, scan, write

AFFINE_LPS = LPS @ AFFINE


def write_dicom(
    folder: Path, slices: Iterable[int] = range(SHAPE[2]), *, tilt: float = 0.0, prefix: str = "IM"
) -> Path:
    """A series of one file per slice, whose names do not follow its order; ``tilt`` shears it by so many mm a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    volume, series = scan(), generate_uid()
    for k in slices:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        file.Modality, file.SeriesInstanceUID, file.InstanceNumber = "MR", series, k + 1
        file.PixelSpacing, file.SliceThickness = [VOXEL[1], VOXEL[0]], VOXEL[2]
        file.ImageOrientationPatient = np.round((AFFINE_LPS[:3, :2] / VOXEL[:2]).T, 9).flatten().tolist()
        position = AFFINE_LPS[:3] @ [0, 0, k, 1] + AFFINE_LPS[:3, 1] / VOXEL[1] * tilt * k
        file.ImagePositionPatient = np.round(position, 6).tolist()
        file.Columns, file.Rows = SHAPE[:2]
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
        file.PixelData = np.ascontiguousarray(volume[:, :, k].T).tobytes()
        file.save_as(folder / f"{prefix}{7 * k % SHAPE[2]:03d}", enforce_file_format=True)
    return folder


def dicom_center(folder: Path) -> np.ndarray:
    """Center of mass in mm (LPS) by DICOM's own formula, pixel by pixel (PS3.3, C.7.6.2.1.1)."""
    places = []
    for path in folder.iterdir():
        file = pydicom.dcmread(path)
        along_row, along_column = np.array(file.ImageOrientationPatient, float).reshape(2, 3)
        between_rows, between_columns = map(float, file.PixelSpacing)
        for row, column in np.argwhere(file.pixel_array > 100):
            step = along_row * between_columns * column + along_column * between_rows * row
            places.append(np.array(file.ImagePositionPatient, float) + step)
    return np.mean(places, axis=0)


def write_nrrd(path: Path, space: str) -> Path:
    signs = {"left": 1, "right": -1, "posterior": 1, "anterior": -1, "superior": 1}  # of DICOM's axes
    signs |= {name[0].upper(): sign for name, sign in signs.items()}
    names = space.split("-") if "-" in space else space
    affine = np.diag([*(signs[name] for name in names), 1]) @ AFFINE_LPS
    header = {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), scan(), header)
    return path


def predictions(output_dir: Path) -> list[str]:
    return sorted(path.name for path in output_dir.glob("*_seg*"))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_an_image_comes_back_in_its_format_and_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / name)
    assert predict(tmp_path / "in", tmp_path / "out") == {}
    assert predictions(tmp_path / "out") == [name.replace("a.", "a_seg.")]
    array, affine = read(tmp_path / "out" / name.replace("a.", "a_seg."))
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
    assert np.linalg.norm(center(array, affine) - center(scan(), AFFINE)) < 0.5 * VOXEL.min()


@pytest.mark.parametrize("space", ["LPS", "RAS", "right-anterior-superior", "left-anterior-superior"])
def test_a_nrrd_file_may_name_any_space(tmp_path: Path, space: str) -> None:
    image = write_nrrd(tmp_path / "a.nrrd", space)
    assert predict(image, tmp_path / "out") == {}
    np.testing.assert_allclose(read(tmp_path / "out/a_seg.nrrd")[1], AFFINE, atol=1e-4)


def test_a_nrrd_file_without_directions_lies_where_itk_puts_it(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "a.nrrd"), scan(), {"spacings": VOXEL})
    assert predict(tmp_path / "a.nrrd", tmp_path / "out") == {}
    np.testing.assert_allclose(read(tmp_path / "out/a_seg.nrrd")[1], LPS @ np.diag([*VOXEL, 1]), atol=1e-4)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz", "a.nii"])
def test_half_a_file_is_named_in_one_line_without_a_place_in_a_librarys_source(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, scan(), AFFINE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{name}: cannot be read \(\w+: \w") as error:
        LoadImageAsVolumed("image")({"image": str(tmp_path / name)})
    assert [part for part in ("\n", ".cxx", "No such file") if part in str(error.value)] == []


def test_half_a_dicom_file_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    file = next(write_dicom(tmp_path / "series", [0]).iterdir())
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(ValueError, match=f"{file.name}: cannot be read .*damaged, cut off, or another format"):
        LoadImageAsVolumed("image")({"image": str(file)})


def test_a_nrrd_file_that_does_not_say_where_it_lies_is_refused(tmp_path: Path) -> None:
    file = write_nrrd(tmp_path / "a.nrrd", "left-posterior-superior")
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"space origin")))
    with pytest.raises(ValueError, match=r"a\.nrrd: cannot be read \(KeyError: the header has no 'space origin'\)"):
        LoadImageAsVolumed("image")({"image": str(file)})


def test_a_dicom_series_comes_back_as_one_nifti_file_in_the_place_that_its_tags_say(tmp_path: Path) -> None:
    series = write_dicom(tmp_path / "series")
    expected = dicom_center(series)
    assert predict(series, tmp_path / "out") == {}
    assert predictions(tmp_path / "out") == ["series_seg.nii.gz"]
    array, affine = read(tmp_path / "out" / "series_seg.nii.gz")
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
    assert np.linalg.norm(LPS[:3, :3] @ center(array, affine) - expected) < 0.5 * VOXEL.min()


def test_a_list_may_mix_formats_and_series(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.mha")
    write_dicom(tmp_path / "c")
    (tmp_path / "list.json").write_text(json.dumps(["a.nii.gz", "b.mha", {"case": "d", "image": "c"}]))
    assert predict(tmp_path / "list.json", tmp_path / "out") == {}
    assert predictions(tmp_path / "out") == ["a_seg.nii.gz", "b_seg.mha", "d_seg.nii.gz"]


def test_what_lies_beside_the_slices_does_not_matter(tmp_path: Path) -> None:
    series = write_dicom(tmp_path / "series")
    (series / "AA_README.txt").write_text("from the archive")
    (series / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert predict(series, tmp_path / "out") == {}
    assert predictions(tmp_path / "out") == ["series_seg.nii.gz"]


def test_a_folder_of_two_series_fails_with_advice_and_the_other_cases_go_on(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "good")
    write_dicom(tmp_path / "in" / "mixed")
    write_dicom(tmp_path / "in" / "mixed", prefix="B")
    failures = predict(tmp_path / "in", tmp_path / "out")
    assert list(failures) == ["mixed"]
    first = [f"series without a number, 16 files from {name}" for name in ("B000", "IM000")]
    assert f"holds 2 DICOM series ({'; '.join(first)}); give each a folder of its own" in failures["mixed"]
    assert predictions(tmp_path / "out") == ["good_seg.nii.gz"]


@pytest.mark.parametrize(("slices", "tilt"), [([0, 1, 2, 3, 5, 6, 7, 8], 0.0), (range(SHAPE[2]), 0.4)])
def test_missing_slices_and_a_sheared_stack_are_refused(tmp_path: Path, slices: Iterable[int], tilt: float) -> None:
    failures = predict(write_dicom(tmp_path / "series", slices, tilt=tilt), tmp_path / "out")
    assert "slices are not evenly spaced" in failures["series"]
    assert predictions(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((20, 24), "not a 3-D volume (20 x 24 voxels)"),
        ((20, 24, 1), "not a 3-D volume (20 x 24 x 1 voxels)"),
        ((20, 24, 16, 3), "3 channels, the weights take 1 (LGE-MRI)"),
    ],
)
def test_what_is_no_volume_of_one_channel_is_refused(tmp_path: Path, shape: tuple[int, ...], reason: str) -> None:
    image = write(tmp_path / "a.nii.gz", np.full(shape, 200, np.uint8))
    assert predict(image, tmp_path / "out")["a"] == f"{image}: {reason}"
    assert predictions(tmp_path / "out") == []


def test_a_single_slice_of_dicom_is_refused(tmp_path: Path) -> None:
    assert "not a 3-D volume" in predict(write_dicom(tmp_path / "s", [6]) / "IM010", tmp_path / "out")["IM010"]


def test_where_all_predictions_exist_inference_says_so_and_forgets_earlier_failures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = write(tmp_path / "a.nii.gz")
    (tmp_path / "out").mkdir()
    earlier = write(tmp_path / "out/a_seg.nii.gz").read_bytes()
    (tmp_path / "out/failures.json").write_text('[{"case": "a", "path": "a.nii.gz", "reason": "disk full"}]')
    weights = str(CONFIG.parents[1] / "models")
    config = inference(str(image), tmp_path / "out", skip_existing=True, ckpt_dir=weights)
    with caplog.at_level(logging.INFO):
        config.get_parsed_content("run")
        config.get_parsed_content("finalize")  # ends the process where a case failed
    assert f"all 1 predictions exist in {tmp_path / 'out'}: nothing to do" in caplog.text
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
    assert (tmp_path / "out/a_seg.nii.gz").read_bytes() == earlier


def without(tag: str):
    """A change to a slice: it lacks a tag."""
    return lambda file: delattr(file, tag)


def having(**tags: object):
    """A change to a slice: it has other tags."""
    return lambda file: [setattr(file, tag, value) for tag, value in tags.items()]


@pytest.mark.parametrize(
    ("change", "which", "reason"),
    [
        (without("PixelSpacing"), slice(None), "has no PixelSpacing"),
        (without("ImagePositionPatient"), slice(3, 4), "has no ImagePositionPatient"),
        (without("ImageOrientationPatient"), slice(None), "has no ImageOrientationPatient"),
        (having(PatientID="2"), slice(8, None), "differ in PatientID; give each scan a folder"),
        (having(PatientName="B"), slice(8, None), "differ in PatientName"),
        (having(FrameOfReferenceUID="1.2.3"), slice(8, None), "differ in FrameOfReferenceUID"),
        (having(SeriesInstanceUID="1.2.3"), slice(8, None), "holds 2 DICOM series"),
        (having(StudyInstanceUID="1.2.3"), slice(8, None), "differ in StudyInstanceUID"),
        (having(PixelSpacing=[0, 0.5]), slice(None), "has PixelSpacing 0, 0.5, expected two numbers of more than 0"),
        (having(PixelSpacing=[-0.5, 0.5]), slice(None), "has PixelSpacing -0.5, 0.5, expected"),
        (
            having(ImageOrientationPatient=[0] * 6),
            slice(None),
            "has ImageOrientationPatient 0, 0, 0, 0, 0, 0, expected",
        ),
        (having(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), slice(None), "at a right angle"),
        (having(PhotometricInterpretation="MONOCHROME1"), slice(None), "is MONOCHROME1, whose values ITK inverts"),
        (having(RescaleSlope=0, RescaleIntercept=5), slice(None), "has RescaleSlope 0.0: its values are unknown"),
        (having(PixelSpacing=[0.5, 0.5]), slice(8, None), "differ in PixelSpacing or ImageOrientationPatient"),
    ],
)
def test_slices_of_unknown_size_or_of_several_scans_are_refused(tmp_path: Path, change, which, reason: str) -> None:
    series = write_dicom(tmp_path / "series")
    for path in sorted(series.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)[which]:
        file = pydicom.dcmread(path)
        change(file)
        file.save_as(path)
    failures = predict(series, tmp_path / "out")
    assert str(series) in failures["series"] and reason in failures["series"]
    assert predictions(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["a.NII.GZ", "a.NRRD", "a.MHA"])
def test_a_format_is_known_by_a_name_in_capitals_too(tmp_path: Path, name: str) -> None:
    write(tmp_path / name.lower()).rename(tmp_path / name)
    assert predict(tmp_path, tmp_path / "out") == {}
    array, affine = read(tmp_path / "out" / name.lower().replace("a.", "a_seg."))
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
    assert np.linalg.norm(center(array, affine) - center(scan(), AFFINE)) < 0.5 * VOXEL.min()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_an_answer_keeps_a_name_that_is_no_utf_8(tmp_path: Path, suffix: str) -> None:
    image = write(tmp_path / f"a{suffix}")
    image.rename(tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode()))
    assert predict(tmp_path, tmp_path / "out") == {}
    assert b"caf\xe9_seg" + suffix.encode() in os.listdir(os.fsencode(tmp_path / "out"))


def test_metaimage_with_a_name_that_is_no_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    image = write(tmp_path / "a.mha").rename(tmp_path / os.fsdecode(b"caf\xe9.mha"))
    reason = predict(tmp_path, tmp_path / "out")[os.fsdecode(b"caf\xe9")]
    assert reason == f"{image}: the name is no UTF-8, and ITK, which reads this format, cannot open it; rename it"
