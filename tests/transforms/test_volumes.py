"""What makes a volume unusable: headers that cannot be, values, grids."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datasets import DataError, check_datalist
from common.transforms import LoadImageAsVolumed
from common.transforms.volumes import grid_faults, header_faults, image_faults, label_faults

AFFINE = np.diag([-1.25, -1.25, 2.5, 1.0])
NAN, ZERO = float("nan"), [0.0, 0.0, 0.0, 0.0]


@pytest.fixture(params=[nib.Nifti1Image, nib.Nifti2Image], ids=["NIfTI-1", "NIfTI-2"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """``broken(srow_z=...)``: a volume with these header fields, as no library would write it."""

    def write(**fields: object) -> str:
        path = tmp_path / "a.nii"
        image = request.param(np.arange(120, dtype=np.int16).reshape(6, 5, 4), AFFINE)
        image.set_qform(AFFINE, code=1)
        nib.save(image, path)
        header = type(image.header)(path.read_bytes()[: image.header.sizeof_hdr], check=False)
        for name, value in fields.items():
            header[name] = value
        path.write_bytes(header.binaryblock + path.read_bytes()[image.header.sizeof_hdr :])
        return str(path)

    return write


HEADERS = {
    "sform of NaN": ({"srow_z": [NAN, 0, 1, 0]}, "sform: affine is not finite"),
    "singular sform": ({"srow_z": ZERO}, "sform: affine is singular: voxel sides are 1.25 x 1.25 x 0 mm"),
    "sform with two equal axes": ({"srow_z": ZERO, "srow_y": [0, -1, 1, 0]}, "sform: affine is singular: its axes"),
    "voxel side of 0": ({"pixdim": [1, 1.25, 0, 2.5, 1, 1, 1, 1]}, "voxel sides are 1.25 x 0 x 2.5 mm (pixdim)"),
    "voxel side of NaN": ({"pixdim": [1, 1.25, NAN, 2.5, 1, 1, 1, 1]}, "voxel sides are 1.25 x nan x 2.5 mm"),
    "only pixdim, and that is 0": ({"pixdim": ZERO * 2, "sform_code": 0, "qform_code": 0}, "voxel sides are 0 x 0 x 0"),
    "voxel side below 0": ({"pixdim": [1, -1.25, 1.25, 2.5, 1, 1, 1, 1]}, "voxel sides are -1.25 x 1.25 x 2.5 mm"),
    "sform of other sides": (
        {"pixdim": [1, 1, 1, 1, 1, 1, 1, 1]},
        "sform: voxel sides are 1.25 x 1.25 x 2.5 mm, and 1 x 1 x 1 mm by pixdim; correct one of them",
    ),
    "handedness of 7": ({"pixdim": [7, 1.25, 1.25, 2.5, 1, 1, 1, 1]}, "qform: pixdim[0] is 7, expected 1 or -1"),
    "meters that are millimeters": ({"xyzt_units": 1}, "is 7500 x 6250 x 10000 mm large, expected 1 to 3000 mm"),
    "micrometers that are millimeters": ({"xyzt_units": 3}, "is 0.0075 x 0.00625 x 0.01 mm large"),
    "qform of NaN": ({"quatern_b": NAN}, "qform: "),
    "qform that is no rotation": ({"quatern_b": 1.0, "quatern_c": 1.0}, "qform: its quaternion is no rotation"),
    "qform beside no sform": ({"sform_code": 0, "qoffset_x": NAN}, "qform: affine is not finite"),
    "unknown code": ({"sform_code": 77}, "sform_code 77 is none of NIfTI's"),
    "colors": ({"datatype": 128, "bitpix": 24}, "holds colors or complex numbers"),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_a_header_that_cannot_be_is_refused_by_name_wherever_the_file_is_read(broken: Callable, fault: str) -> None:
    fields, text = HEADERS[fault]
    file = broken(**fields)
    with pytest.raises(ValueError) as loading:
        LoadImageAsVolumed("image")({"image": file})
    assert str(loading.value).startswith(f"{file}: {text}")
    with pytest.raises(DataError) as check:
        check_datalist([{"case": "a", "image": file}])
    assert f"a: {file}: {text}" in str(check.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sform_code": 0},
        {"qform_code": 0, "quatern_b": NAN},
        {"sform_code": 0, "srow_z": ZERO},
        {"qform_code": 0, "sform_code": 0},
        {"sform_code": 5, "qform_code": 4},
        {"pixdim": [7, 1.25, 1.25, 2.5, 1, 1, 1, 1], "qform_code": 0},
    ],
)
def test_a_matrix_whose_code_is_0_says_nothing_and_harms_nobody(broken: Callable, fields: dict) -> None:
    file = broken(**fields)
    assert header_faults(file) == []
    LoadImageAsVolumed("image")({"image": file})


def test_a_handedness_of_0_is_1_as_nifti_has_it(broken: Callable) -> None:
    file = broken(pixdim=[0, 1.25, 1.25, 2.5, 1, 1, 1, 1], quatern_b=0, quatern_c=0, quatern_d=1, sform_code=0)
    np.testing.assert_allclose(LoadImageAsVolumed("image")({"image": file})["image"].affine, AFFINE)


@pytest.mark.parametrize("qform", [0, 1])
def test_the_sform_places_a_volume_whose_pixdim_was_rounded(broken: Callable, qform: int) -> None:
    file = broken(pixdim=[1, 1.2501, 1.25, 2.5, 1, 1, 1, 1], qform_code=qform, quatern_b=1, quatern_c=0, quatern_d=0)
    np.testing.assert_allclose(LoadImageAsVolumed("image")({"image": file})["image"].affine, AFFINE)


@pytest.mark.parametrize(("unit", "in_a_mm"), [(1, 1e-3), (3, 1e3)], ids=["meters", "micrometers"])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_the_unit_of_length_counts(broken: Callable, unit: int, in_a_mm: float, form: str) -> None:
    rows = {f"srow_{axis}": row for axis, row in zip("xyz", AFFINE * in_a_mm, strict=False)}
    pixdim = [1, *np.multiply([1.25, 1.25, 2.5], in_a_mm), 1, 1, 1, 1]
    off = {"qform_code" if form == "sform" else "sform_code": 0}
    file = broken(xyzt_units=unit, pixdim=pixdim, **rows, **off)
    np.testing.assert_allclose(LoadImageAsVolumed("image")({"image": file})["image"].affine, AFFINE, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "write", "text"),
    [
        ("a.nii", gzip.compress, "is compressed, but not named so; rename it to .nii.gz"),
        ("a.nii.gz", bytes, "is not compressed, but named so; rename it to .nii"),
    ],
)
def test_a_name_that_is_wrong_about_compression_is_said_to_be(
    broken: Callable, name: str, write: Callable[[bytes], bytes], text: str
) -> None:
    sound = Path(broken())
    sound.with_name(name).write_bytes(write(sound.read_bytes()))
    assert header_faults(str(sound.with_name(name))) == [text]


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("damage", ["another voxel", "cut off"])
def test_a_compressed_file_that_is_not_what_its_checksum_says_is_refused(
    broken: Callable, key: str, damage: str
) -> None:
    content = bytearray(gzip.compress(Path(broken()).read_bytes(), compresslevel=0))  # voxels lie open in it
    content[-20] ^= 1
    file = Path(broken()).with_name("b.nii.gz")
    file.write_bytes(content if damage == "another voxel" else gzip.compress(Path(broken()).read_bytes())[:-5])
    with pytest.raises(ValueError, match=r"b\.nii\.gz: cannot be read"):
        LoadImageAsVolumed(key)({key: str(file)})
    with pytest.raises(DataError, match=r"b\.nii\.gz: cannot be read"):
        check_datalist([{"case": "b", "image": str(file)}])


def test_values_whose_square_is_infinite_are_refused() -> None:
    volume = np.arange(24, dtype=np.float64).reshape(1, 4, 3, 2)
    assert image_faults(volume * 1e16, AFFINE, channels=1) == []
    assert image_faults(volume * -1e30, AFFINE, channels=1) == [
        "values reach 2.3e+31, expected less than 1e+18 to compute with"
    ]


@pytest.mark.parametrize("content", [b"", b"no image", b"\0" * 400], ids=["empty", "text", "zeros"])
def test_what_is_no_nifti_file_is_left_to_the_reader(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nii").write_bytes(content)
    assert header_faults(str(tmp_path / "a.nii")) == []


def test_other_formats_have_their_matrix_checked_too(tmp_path: Path) -> None:
    import nrrd

    header = {"space": "left-posterior-superior", "space origin": np.zeros(3)}
    header["space directions"] = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0.0]])
    nrrd.write(str(tmp_path / "a.nrrd"), np.arange(120, dtype=np.int16).reshape(6, 5, 4), header)
    with pytest.raises(ValueError, match=r"a\.nrrd: affine is singular"):
        LoadImageAsVolumed("image")({"image": str(tmp_path / "a.nrrd")})


def label(*values: float, dtype: type = np.float32) -> np.ndarray:
    volume = np.zeros((1, 4, 3, 2), dtype)
    volume.flat[: len(values)] = values
    return volume


@pytest.mark.parametrize(
    ("values", "allowed", "named"),
    [
        ((0, 128), (0, 1, 255), "128"),
        ((0, 200), (0, 1, 255), "200"),
        ((0, -1, 1), (0, 1), "-1"),
        ((1, 2, 3, 4), (0, 1), "2, 3, 4"),
        ((1, 2, 3), (0, 1, 2, 4), "3"),
        ((1, 0.5), (0, 1), "0.5"),
        ((1, 0.998), (0, 1), "0.998"),
        ((1, float("nan")), (0, 1), "nan"),
        ((1, float("inf")), (0, 1), "inf"),
        ((1, 2.5), None, "2.5"),
        ((1, float("inf")), None, "inf"),
    ],
)
def test_other_values_than_the_data_set_has_are_named(values: tuple, allowed: tuple | None, named: str) -> None:
    expected = "whole numbers" if allowed is None else ", ".join(map(str, allowed))
    fault = f"label value {named} not allowed; expected {expected}"
    assert label_faults(label(*values), AFFINE, values=allowed) == [fault]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_whole_numbers_pass_whatever_they_are_stored_as(dtype: type) -> None:
    assert label_faults(label(1, 4, dtype=dtype), AFFINE, values=(0, 1, 2, 4)) == []
    assert label_faults(label(1, 77, dtype=dtype), AFFINE, values=None) == []


def test_a_label_is_loaded_as_the_whole_numbers_that_its_floats_stand_for(tmp_path: Path) -> None:
    stored = np.array([0.0004, 0.9991, 2.0009, 4.0] * 6, np.float64).reshape(4, 3, 2)
    nib.save(nib.Nifti1Image(stored, AFFINE), tmp_path / "a.nii.gz")
    loaded = LoadImageAsVolumed("label", label_values=[0, 1, 2, 4])({"label": str(tmp_path / "a.nii.gz")})["label"]
    np.testing.assert_array_equal(loaded[0], np.array([0, 1, 2, 4] * 6).reshape(4, 3, 2))


@pytest.mark.parametrize(
    ("shift", "is_one"),
    [(0.0, True), (2e-6, True), (0.002, True), (0.06, True), (0.063, False), (0.125, False), (0.625, False)],
)
def test_two_grids_are_one_up_to_a_twentieth_of_the_smallest_voxel_side(shift: float, is_one: bool) -> None:
    other = AFFINE.copy()
    other[0, 3] += shift  # mm; a twentieth of 1.25 mm is 0.0625
    faults = grid_faults(((6, 5, 4), other), ((6, 5, 4), AFFINE), like="the image")
    assert faults == ([] if is_one else [f"affine differs from the image's, by up to {shift:.4g} mm"])


def test_sides_with_four_decimals_are_one_grid_over_512_voxels_and_a_turn_of_one_degree_is_not() -> None:
    stored, written = np.diag([0.703125, 0.703125, 2.5, 1]), np.diag([0.7031, 0.7031, 2.5, 1])
    assert grid_faults(((512, 512, 100), written), ((512, 512, 100), stored), like="the image") == []
    turned = stored.copy()
    turned[:2, :2] = np.array([[1, -0.0175], [0.0175, 1]]) * 0.703125
    assert grid_faults(((512, 512, 100), turned), ((512, 512, 100), stored), like="the image") != []
