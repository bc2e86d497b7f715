"""BraTS 2020's folders, and the Decathlon's stand-in for them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datasets import (
    DataError,
    brats2020_datalist,
    check_datalist,
    inference_cases,
    inference_datalist,
    msd_task01_datalist,
    training_cases,
)

CONTRASTS = ("flair", "t1", "t1ce", "t2")


def patient(root: Path, number: int = 1, suffix: str = ".nii.gz", kinds: tuple[str, ...] = (*CONTRASTS, "seg")) -> Path:
    """A patient's folder with empty files."""
    name = f"BraTS20_Training_{number:03d}"
    (root / name).mkdir(parents=True)
    for kind in kinds:
        (root / name / f"{name}_{kind}{suffix}").touch()
    return root / name


def names(item: dict) -> list[str]:
    return [Path(path).name.removeprefix(item["case"]) for path in (*item["image"], item["label"])]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_patient_has_four_contrasts_in_a_fixed_order_and_a_label(tmp_path, suffix):
    patient(tmp_path, 7, suffix)
    [item] = brats2020_datalist(tmp_path)
    assert item["case"] == "BraTS20_Training_007"
    assert names(item) == [f"_{kind}{suffix}" for kind in (*CONTRASTS, "seg")]


@pytest.mark.parametrize("above", [".", "MICCAI_BraTS2020_TrainingData", "archive/MICCAI_BraTS2020_TrainingData"])
def test_the_folder_of_patients_is_found_from_above(tmp_path, above):
    for number in (2, 1):
        patient(tmp_path / above, number)
    (tmp_path / above / "name_mapping.csv").touch()
    assert [item["case"][-3:] for item in brats2020_datalist(tmp_path)] == ["001", "002"]


def test_files_stay_with_their_patient_where_one_label_is_named_otherwise(tmp_path):
    folders = [patient(tmp_path, number) for number in (354, 355, 356)]
    odd = folders[1] / "W39_1998.09.19_Segm.nii"
    (folders[1] / "BraTS20_Training_355_seg.nii.gz").rename(odd)
    items = brats2020_datalist(tmp_path)
    assert [Path(path).parent.name for item in items for path in (*item["image"], item["label"])] == [
        item["case"] for item in items for _ in range(5)
    ]
    assert items[1]["label"] == str(odd)


def test_taking_a_file_of_another_name_is_said(tmp_path, caplog):
    (patient(tmp_path, 355, kinds=CONTRASTS) / "W39_1998.09.19_Segm.nii").touch()
    with caplog.at_level(logging.WARNING):
        brats2020_datalist(tmp_path)
    assert "W39_1998.09.19_Segm.nii: taken for the missing BraTS20_Training_355_seg" in caplog.text


def test_a_missing_file_is_named_by_the_data_check(tmp_path):
    folder = patient(tmp_path, kinds=("flair", "t1", "t2", "seg"))
    with pytest.raises(DataError, match=f"{folder.name}_t1ce.nii.gz: no such file or folder"):
        check_datalist(brats2020_datalist(tmp_path), channels=4)


def test_of_two_missing_files_none_is_guessed(tmp_path):
    folder = patient(tmp_path, kinds=CONTRASTS[:3])
    (folder / "W39.nii").touch()
    [item] = brats2020_datalist(tmp_path)
    assert not Path(item["label"]).exists() and not Path(item["image"][3]).exists()


def test_folders_with_files_of_others_or_none_are_named_in_one_message(tmp_path):
    (patient(tmp_path, 1) / "BraTS20_Training_002_t1.nii.gz").touch()
    (patient(tmp_path, 2) / "BraTS20_Training_002_t1.nii").touch()
    patient(tmp_path, 3).rename(tmp_path / "BraTS20_Training_004")
    (tmp_path / "BraTS20_Training_005").mkdir()
    patient(tmp_path, 6)
    with pytest.raises(DataError) as error:
        brats2020_datalist(tmp_path)
    text = str(error.value)
    assert text.startswith("4 of 5 folders cannot be used")
    assert "001: holds files of several patients, BraTS20_Training_001, BraTS20_Training_002" in text
    assert "002: holds both BraTS20_Training_002_t1.nii and BraTS20_Training_002_t1.nii.gz" in text
    assert "004: holds files of BraTS20_Training_003" in text and "005: holds no files of this patient" in text


def test_a_wrong_path_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        brats2020_datalist(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{tmp_path.name}: holds no patients"):
        brats2020_datalist(tmp_path)


def test_prediction_takes_a_folder_of_patients_and_a_patient_labeled_or_not(tmp_path):
    folders = [patient(tmp_path, 1), patient(tmp_path, 2, kinds=CONTRASTS)]
    listed = inference_datalist(tmp_path)
    assert listed == inference_datalist([str(folder) for folder in folders])
    assert [item["case"] for item in listed] == [folder.name for folder in folders]
    assert [Path(path).name[21:] for path in listed[0]["image"]] == [f"{kind}.nii.gz" for kind in CONTRASTS]


def test_a_list_may_name_the_files_of_an_image(tmp_path):
    folder = patient(tmp_path, 1)
    files = [f"{folder.name}/{folder.name}_{kind}.nii.gz" for kind in CONTRASTS]
    (tmp_path / "list.json").write_text(json.dumps([{"image": files}, {"case": "mine", "image": files}]))
    listed = inference_datalist(tmp_path / "list.json")
    assert [item["case"] for item in listed] == [folder.name, "mine"]
    assert listed[0]["image"] == listed[1]["image"] == [str(tmp_path / file) for file in files]


def test_a_file_of_an_image_that_a_list_names_in_vain_is_named(tmp_path):
    folder = patient(tmp_path, kinds=CONTRASTS[:3])
    files = [str(folder / f"{folder.name}_{kind}.nii.gz") for kind in CONTRASTS]
    with pytest.raises(DataError, match=r"_t2\.nii\.gz: no such file"):
        inference_datalist([{"image": files}])


def test_what_is_predicted_already_can_be_skipped(tmp_path):
    for number in (1, 2):
        patient(tmp_path / "in", number)
    (tmp_path / "out").mkdir()
    answer = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    nib.save(answer, tmp_path / "out" / "BraTS20_Training_001_seg.nii.gz")
    [item] = inference_cases(str(tmp_path / "in"), tmp_path / "out", skip_existing=True)
    assert item["case"] == "BraTS20_Training_002"


@pytest.mark.parametrize("kept", [0, 60, -8], ids=["none", "some", "all but the checksum"])
def test_of_what_is_predicted_already_a_part_is_not_taken_for_the_whole(tmp_path, caplog, kept):
    patient(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "BraTS20_Training_001_seg.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).integers(0, 4, (9, 9, 9), np.uint8), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:kept])
    [item] = inference_cases(str(tmp_path / "in"), tmp_path / "out", skip_existing=True)
    assert item["case"] == "BraTS20_Training_001"
    assert "1 predictions cannot be read and are made again: BraTS20_Training_001_seg.nii.gz" in caplog.text


def test_a_folder_of_images_that_only_end_like_contrasts_stays_a_folder_of_images(tmp_path):
    for name in ("anna_t1", "anna_t2", "ben_t1"):
        (tmp_path / f"{name}.nii.gz").touch()
    assert [item["case"] for item in inference_datalist(tmp_path)] == ["anna_t1", "anna_t2", "ben_t1"]


def test_the_real_cases_pass_the_data_check(shared_data, tmp_path):
    cases = training_cases(
        "brats2020", shared_data / "brats2020", channels=4, label_values=[0, 1, 2, 4], cache_dir=tmp_path
    )
    assert [case["case"] for case in cases] == ["BraTS20_Training_001", "BraTS20_Training_003"]


def write(path: Path, array: np.ndarray) -> str:
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return str(path)


@pytest.fixture
def item(tmp_path) -> dict:
    """A case of four small files."""
    image = np.random.default_rng(0).normal(size=(4, 6, 5, 4)).astype(np.float32)
    files = [write(tmp_path / f"{k}.nii.gz", channel) for k, channel in enumerate(image)]
    return {
        "case": "a",
        "image": files,
        "label": write(tmp_path / "label.nii.gz", np.eye(6, 5, dtype=np.uint8)[..., None].repeat(4, -1)),
    }


def test_a_good_case_of_four_files_passes_the_check(item):
    check_datalist([item], channels=4)


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.ones((5, 5, 4), np.float32), r"shape \(5, 5, 4\) differs from .*0\.nii\.gz's \(6, 5, 4\)"),
        (np.full((6, 5, 4), np.nan, np.float32), "120 voxels are not finite"),
        (np.ones((6, 5, 4, 2), np.float32), "has 2 channels, expected 1"),
    ],
)
def test_the_check_names_the_channel_at_fault(item, array, fault):
    write(Path(item["image"][2]), array)
    with pytest.raises(DataError, match=rf"a: .*2\.nii\.gz: {fault}"):
        check_datalist([item], channels=4)


def test_the_check_names_a_wrong_number_of_channel_files(item):
    with pytest.raises(DataError, match=r"0\.nii\.gz: one of 4 channels, expected 2"):
        check_datalist([item], channels=2)


def test_a_channel_that_changed_is_checked_again(item, tmp_path):
    check_datalist([item], channels=4, cache_file=tmp_path / "checked.json")
    write(Path(item["image"][3]), np.full((6, 5, 4), np.inf, np.float32))
    with pytest.raises(DataError, match="not finite"):
        check_datalist([item], channels=4, cache_file=tmp_path / "checked.json")


def listing(folder: Path, **parts: object) -> Path:
    training = [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}]
    (folder / "dataset.json").write_text(json.dumps({"training": training, **parts}))
    return folder


def test_task01_is_listed_as_its_json_says(tmp_path):
    modality = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    [item] = msd_task01_datalist(listing(tmp_path, modality=modality))
    assert item["case"] == "BRATS_001" and item["image"] == str(tmp_path / "imagesTr/BRATS_001.nii.gz")


@pytest.mark.parametrize("modality", [{"0": "T1w", "1": "FLAIR", "2": "t1gd", "3": "T2w"}, {"0": "CT"}, None])
def test_task01_with_other_channels_is_refused(tmp_path, modality):
    with pytest.raises(DataError, match=r"dataset\.json: the modality is .*, expected FLAIR, T1w, T1gd, T2w"):
        msd_task01_datalist(listing(tmp_path, **({"modality": modality} if modality else {})))
