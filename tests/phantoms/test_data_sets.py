"""The made-up patients: repeatable, anatomical, and in the real layout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from monai.data import ITKReader
from monai.transforms import LoadImage
from scipy.ndimage import center_of_mass, label

from common.datasets import DataError, atria2018_datalist, check_datalist
from common.phantoms import atrium_phantom, write_atria2018
from common.phantoms.__main__ import phantoms


@pytest.fixture(scope="module")
def case():
    return atrium_phantom(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantoms") / "set"
    write_atria2018(str(path), cases=6, seed=0)
    return path


def test_the_same_seed_gives_the_same_voxels(case):
    image, atrium, _ = atrium_phantom(0)
    assert np.array_equal(image, case[0]) and np.array_equal(atrium, case[1])


def test_another_seed_gives_another_patient(case):
    image, _, _ = atrium_phantom(1)
    assert image.shape != case[0].shape or not np.array_equal(image, case[0])


def test_image_and_label_are_eight_bit_with_the_challenges_label_value(case):
    image, atrium, _ = case
    assert image.dtype == atrium.dtype == np.uint8
    assert np.unique(atrium).tolist() == [0, 255]


def test_the_atrium_with_its_veins_is_one_piece_of_a_human_atriums_size(case):
    _, atrium, spacing = case
    largest = np.bincount(label(atrium)[0].ravel())[1:].max()
    assert largest > 0.98 * np.count_nonzero(atrium)
    assert 15 < np.count_nonzero(atrium) * np.prod(spacing) / 1000 < 60  # ml


def test_no_threshold_finds_the_atrium(case):
    image, atrium, _ = case
    inside = atrium > 0
    dice = [2 * np.sum(inside & (image >= t)) / (inside.sum() + np.sum(image >= t)) for t in range(1, 255, 2)]
    assert max(dice) < 0.6


def test_brightness_differs_from_case_to_case_as_in_real_scans():
    means = [atrium_phantom(seed)[0].mean() for seed in range(6)]
    assert min(means) > 5 and max(means) < 80 and max(means) > 2 * min(means)


def test_files_are_laid_out_and_encoded_like_the_challenges(folder):
    items = atria2018_datalist(folder)
    header = nrrd.read_header(items[0]["image"])
    assert header["encoding"] == "gzip" and header["space"] == "left-posterior-superior"
    check_datalist(items, label_values=(0, 255))


def test_orientations_are_mixed(folder):
    codes = {"".join(nib.aff2axcodes(LoadImage()(item["image"]).affine.numpy())) for item in atria2018_datalist(folder)}
    assert {"LPS", "RAS"} < codes and len(codes) >= 5


def test_slices_are_thicker_than_pixels_along_the_axis_that_points_to_the_head(folder):
    for item in atria2018_datalist(folder):
        image = LoadImage()(item["image"])
        codes = nib.aff2axcodes(image.affine.numpy())
        expected = [2.5 if code in "SI" else 1.25 for code in codes]
        np.testing.assert_allclose(image.pixdim.numpy(), expected)


def test_the_atrium_lies_in_front_of_the_spine_in_every_orientation(folder):
    for item in atria2018_datalist(folder):
        volume = LoadImage()(item["image"])
        atrium = LoadImage()(item["label"]).numpy()
        heart = volume.affine.numpy() @ [*center_of_mass(atrium), 1]  # mm, RAS
        middle = volume.affine.numpy() @ [*(np.asarray(atrium.shape) - 1) / 2, 1]
        assert np.abs(heart - middle)[:3].max() < 25


def test_two_readers_agree_on_the_geometry(folder):
    for item in atria2018_datalist(folder):
        by_itk = LoadImage(reader=ITKReader())(item["image"])
        by_nrrd = LoadImage(reader="NrrdReader")(item["image"])
        np.testing.assert_allclose(by_itk.affine.numpy(), by_nrrd.affine.numpy(), atol=1e-6)


def test_a_set_that_is_there_is_not_written_again(folder):
    path = folder / "phantom_000" / "lgemri.nrrd"
    before = path.stat().st_mtime_ns
    write_atria2018(str(folder), cases=6, seed=0)
    assert path.stat().st_mtime_ns == before


def test_a_larger_set_starts_with_the_smaller_one(folder, tmp_path):
    write_atria2018(str(tmp_path), cases=1, seed=0)
    small, large = (nrrd.read(str(root / "phantom_000" / "lgemri.nrrd"))[0] for root in (tmp_path, folder))
    assert np.array_equal(small, large)


def test_a_smaller_set_leaves_no_patient_of_the_larger_behind(tmp_path):
    for cases in (2, 1):
        write_atria2018(str(tmp_path), cases=cases, seed=0)
    assert [item["case"] for item in atria2018_datalist(tmp_path)] == ["phantom_000"]


def test_the_folder_says_that_it_is_for_demonstration_only(folder):
    marker = json.loads((folder / "phantom.json").read_text())
    assert marker["demonstration only"] is True and marker["seed"] == 0 and marker["cases"] == 6


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "patient1").mkdir()
    with pytest.raises(FileExistsError, match="not phantoms"):
        write_atria2018(str(tmp_path), cases=1)


def test_an_unknown_layout_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="atria2018"):
        phantoms("atria2019", str(tmp_path))


def test_a_broken_phantom_is_found_by_the_data_check(tmp_path):
    write_atria2018(str(tmp_path), cases=1)
    [item] = atria2018_datalist(tmp_path)
    with pytest.raises(DataError, match="label value 255 not allowed"):
        check_datalist([item], label_values=(0, 1))


@pytest.mark.parametrize(("cases", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_a_set_without_patients_or_with_a_seed_that_is_none_is_refused(tmp_path: Path, cases: int, seed: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1 case, and a seed of at least 0"):
        phantoms("atria2018", tmp_path / "set", cases=cases, seed=seed)
    assert not (tmp_path / "set").exists()


def test_a_way_through_a_folder_that_does_not_exist_is_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(FileExistsError, match="not phantoms"):
        phantoms("atria2018", tmp_path / "nowhere/../mine", cases=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]
