"""Images of several channels, in one file or in one for each."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.command_line import innermost
from common.transforms import LabelsOnOriginalGridd, LoadImageAsVolumed, load_on_grid

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
ORDER = [1, 3, 2, 0]


def volumes() -> np.ndarray:
    """Four channels (4, X, Y, Z) that differ everywhere."""
    return np.random.default_rng(0).permutation(4 * 6 * 5 * 4).reshape(4, 6, 5, 4).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nib.save(nib.Nifti1Image(array, affine), path)
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [save(tmp_path / f"{k}.nii.gz", channel) for k, channel in enumerate(volumes())]


@pytest.fixture
def file(tmp_path: Path) -> str:
    return save(tmp_path / "all.nii.gz", np.moveaxis(volumes(), 0, -1))


def test_a_list_of_files_becomes_channels_in_the_order_that_is_asked_for(files: list[str]) -> None:
    image = LoadImageAsVolumed("image", channel_order=ORDER)({"image": files})["image"]
    np.testing.assert_array_equal(image, volumes()[ORDER])


def test_a_file_of_several_channels_becomes_the_same_as_a_list(files: list[str], file: str) -> None:
    load = load_on_grid(["image"], channel_order=ORDER)
    one, several = load({"image": file})["image"], load({"image": files})["image"]
    np.testing.assert_array_equal(one, several)
    np.testing.assert_array_equal(one.affine, several.affine)


def test_the_label_has_one_channel_whatever_the_image_has(files: list[str]) -> None:
    case = load_on_grid(channel_order=ORDER)({"image": files, "label": files[2]})
    assert case["image"].shape == (4, 4, 5, 6) and case["label"].shape == (1, 4, 5, 6)


def test_an_image_of_a_list_leads_back_to_the_grid_of_its_files(files: list[str]) -> None:
    case = load_on_grid(["image"], channel_order=ORDER)({"image": files})
    case["pred"] = (case["image"][3:] > 200).float()  # of the first file
    labels = LabelsOnOriginalGridd("pred")(case)["pred"]
    np.testing.assert_array_equal(labels[0], volumes()[0] > 200)
    np.testing.assert_array_equal(labels.affine, AFFINE)


def shifted() -> np.ndarray:
    affine = AFFINE.copy()
    affine[2, 3] = 0.5
    return affine


@pytest.mark.parametrize(
    ("array", "affine", "fault"),
    [
        (volumes()[2][:5], AFFINE, r"shape (5, 5, 4) differs from {first}'s (6, 5, 4)"),
        (volumes()[2], shifted(), "affine differs from {first}'s, by up to 0.5 mm"),
        (np.moveaxis(volumes()[:2], 0, -1), AFFINE, "has 2 channels, expected 1"),
        (volumes()[2][..., :1], AFFINE, "not a 3-D volume (6 x 5 x 1 voxels)"),
    ],
)
def test_the_channel_that_does_not_plan_is_named(files: list[str], array, affine, fault: str) -> None:
    save(Path(files[2]), array, affine)
    with pytest.raises(ValueError) as error:
        LoadImageAsVolumed("image", channel_order=ORDER)({"image": files})
    assert str(error.value) == f"{files[2]}: {fault.format(first=files[0])}"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_the_channel_that_cannot_be_read_is_named(files: list[str], damage) -> None:
    damage(Path(files[2]))
    with pytest.raises(Exception, match=r"2\.nii\.gz"):
        LoadImageAsVolumed("image", channel_order=ORDER)({"image": files})


def test_another_number_of_files_than_the_network_has_channels_is_refused(files: list[str]) -> None:
    with pytest.raises(ValueError, match=r"0\.nii\.gz: one of 4 channels, the weights take 1$"):
        LoadImageAsVolumed("image")({"image": files})


def test_another_number_of_channels_in_a_file_than_the_network_has_is_refused(file: str) -> None:
    with pytest.raises(ValueError, match=r"all\.nii\.gz: 4 channels, the weights take 2$"):
        LoadImageAsVolumed("image", channel_order=[1, 0])({"image": file})


def test_a_scan_with_too_few_channels_is_told_which_there_must_be(files: list[str]) -> None:
    load = load_on_grid(["image"], channel_order=ORDER, channel_names=["FLAIR", "T1", "T1ce", "T2"])
    with pytest.raises(Exception) as error:
        load({"image": files[0]})
    expected = f"{files[0]}: 1 channel, the weights take 4 (FLAIR, T1, T1ce, T2)"
    assert str(innermost(error.value)) == expected


@pytest.mark.parametrize("order", [[0, 0, 1], [1, 2]])
def test_an_order_that_is_none_is_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match="channel_order"):
        LoadImageAsVolumed("image", channel_order=order)
