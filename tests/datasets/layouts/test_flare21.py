"""The layouts of FLARE 2021 and AbdomenCT-1K: paired by id, whatever else lies there."""

from __future__ import annotations

import pytest

from common.datasets import (
    DataError,
    abdomenct1k_datalist,
    check_datalist,
    flare21_datalist,
    inference_cases,
    training_cases,
)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_images_and_masks_are_paired_by_id_in_its_order(tmp_path):
    for case in ("train_010", "train_002"):
        touch(tmp_path, f"train_images/{case}_0000.nii.gz", f"train_mask/{case}.nii.gz")
    assert flare21_datalist(tmp_path) == [
        {
            "case": case,
            "image": str(tmp_path / f"train_images/{case}_0000.nii.gz"),
            "label": str(tmp_path / f"train_mask/{case}.nii.gz"),
        }
        for case in ("train_002", "train_010")
    ]


def test_validation_images_have_no_masks(tmp_path):
    touch(tmp_path, "val_images/validation_001_0000.nii.gz", "train_mask/train_000.nii.gz")
    image = str(tmp_path / "val_images/validation_001_0000.nii.gz")
    assert flare21_datalist(tmp_path, "val") == [{"case": "validation_001", "image": image}]


def test_files_that_are_no_compressed_volumes_are_no_cases(tmp_path):
    touch(tmp_path, "train_images/a_0000.nii.gz", "train_images/._a_0000.nii.gz", "train_images/read.me")
    touch(tmp_path, "train_mask/a.nii.gz", "train_mask/.b.nii.gz")
    assert [item["case"] for item in flare21_datalist(tmp_path)] == ["a"]


@pytest.mark.parametrize("layout", [flare21_datalist, abdomenct1k_datalist])
def test_missing_partners_are_named_in_one_message(tmp_path, layout):
    touch(tmp_path, "train_images/Case_1_0000.nii.gz", "train_mask/Case_2.nii.gz")
    with pytest.raises(DataError) as error:
        check_datalist(layout(tmp_path))
    assert "Case_1.nii.gz: no such file or folder" in str(error.value)
    assert "Case_2_0000.nii.gz: no such file or folder" in str(error.value)


def test_images_whose_names_lack_the_channel_are_all_named(tmp_path):
    touch(tmp_path, *(f"train_images/{name}.nii.gz" for name in ("a_0000", "b", "c_0001")))
    with pytest.raises(DataError, match=r"(?s)end in _0000\.nii\.gz.*b\.nii\.gz\n.*c_0001\.nii\.gz") as error:
        flare21_datalist(tmp_path)
    assert "a_0000" not in str(error.value)


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_wrong_path_or_a_folder_without_cases_says_what_is_expected(tmp_path, folder):
    with pytest.raises(DataError, match=r"train_images: no such folder.*train_mask/<case>\.nii\.gz"):
        flare21_datalist(tmp_path / folder)
    with pytest.raises(DataError, match=r"Case_<n>_0000\.nii\.gz"):
        abdomenct1k_datalist(tmp_path / folder)


def test_empty_folders_hold_no_cases(tmp_path):
    (tmp_path / "train_images").mkdir()
    with pytest.raises(DataError, match="holds no cases"):
        flare21_datalist(tmp_path)


def test_abdomenct1k_is_found_in_whatever_folders_its_archives_unpack_to(tmp_path):
    touch(tmp_path, "Part1/Case_00002_0000.nii.gz", "Part2/Case_00010_0000.nii.gz")
    touch(
        tmp_path, "Mask/Case_00010.nii.gz", "Mask/Case_00002.nii.gz", "Mask/._Case_00002.nii.gz", "Mask/Case_x.nii.gz"
    )
    assert abdomenct1k_datalist(tmp_path) == [
        {
            "case": case,
            "image": str(tmp_path / f"{part}/{case}_0000.nii.gz"),
            "label": str(tmp_path / f"Mask/{case}.nii.gz"),
        }
        for case, part in (("Case_00002", "Part1"), ("Case_00010", "Part2"))
    ]


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "a/Case_1_0000.nii.gz", "b/Case_1_0000.nii.gz", "Case_1.nii.gz")
    with pytest.raises(DataError, match=r"a/Case_1_0000\.nii\.gz, .*b/Case_1_0000\.nii\.gz"):
        abdomenct1k_datalist(tmp_path)


def test_predictions_are_named_after_cases_not_after_channels(tmp_path):
    touch(tmp_path, "train_000_0000.nii.gz", "train_001_0000.nii.gz", "other.nii.gz")
    assert [item["case"] for item in inference_cases(tmp_path, tmp_path / "out")] == ["other", "train_000", "train_001"]


def test_masks_beside_their_images_are_not_predicted(tmp_path):
    touch(tmp_path, "Case_1_0000.nii.gz", "Case_1.nii.gz")
    [item] = inference_cases(tmp_path, tmp_path / "out")
    assert item == {"case": "Case_1", "image": str(tmp_path / "Case_1_0000.nii.gz")}


@pytest.mark.parametrize(("validation", "expected"), [(["val_images/v_0000.nii.gz"], "v"), ([], "t")])
def test_a_flare_folder_stands_for_its_validation_images_or_else_for_those_of_its_training(
    tmp_path, validation, expected
):
    (tmp_path / "val_images").mkdir()
    touch(tmp_path, "train_images/t_0000.nii.gz", "train_mask/t.nii.gz", *validation)
    assert [item["case"] for item in inference_cases(tmp_path, tmp_path / "out")] == [expected]


def test_the_real_case_passes_the_check(shared_data, tmp_path):
    folder = shared_data / "flare21"
    cases = training_cases("flare21", folder, label_values=(0, 1, 2, 3, 4), cache_dir=tmp_path)
    assert [item["case"] for item in cases] == ["train_000"]
