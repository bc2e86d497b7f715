"""A folder's layout is recognized, or the message says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.datasets import DataError, recognize, training_cases
from common.datasets.layouts.data_set import modality_named
from common.datasets.layouts.registry import LAYOUTS
from common.phantoms import WRITERS

SAME = {"msd_task01": "decathlon", "task03_liver": "decathlon"}  # tasks of the Decathlon
REAL = {
    "Task03_Liver": ("decathlon", 1, ("CT",), "CT", {"liver": 1, "cancer": 2}),
    "Task03_Liver_lits": ("decathlon", 19, ("CT",), "CT", {"liver": 1, "cancer": 2}),
    "Task04_Hippocampus": ("decathlon", 195, ("MRI",), "MR", {"Anterior": 1, "Posterior": 2}),
    "atria2018": ("atria2018", 80, ("LGE-MRI",), "MR", {"left atrium": 255}),
    "brats2020": ("brats2020", 2, ("flair", "t1", "t1ce", "t2"), "MR", None),
    "brats2021": ("brats2020", 6, ("flair", "t1", "t1ce", "t2"), "MR", None),
    "flare21": ("flare21", 1, ("CT",), "CT", {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}),
    "flare21_btcv": ("flare21", 20, ("CT",), "CT", {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_phantoms_are_recognized_and_pass_the_check(layout: str, tmp_path: Path) -> None:
    names = WRITERS[layout](str(tmp_path / "set"), 2, 0)
    found = recognize(tmp_path / "set")
    assert (found.layout, [case["case"] for case in found.cases]) == (SAME.get(layout, layout), names)
    channels = len(found.channels) or 1
    cases = training_cases("auto", tmp_path / "set", channels=channels, label_values=found.label_values or range(5))
    assert cases == found.cases


@pytest.mark.parametrize("folder", REAL)
def test_real_data_sets_are_recognized(folder: str, shared_data: Path) -> None:
    layout, cases, channels, modality, structures = REAL[folder]
    found = recognize(shared_data / folder)
    assert (found.layout, len(found.cases), found.channels, found.modality) == (layout, cases, channels, modality)
    assert found.structures == (structures or {"necrotic core": 1, "edema": 2, "enhancing tumor": 4})


def test_a_folder_in_no_layout_says_what_it_holds_and_what_is_expected(write) -> None:
    folder = write("scans/a.nii.gz", "notes.txt")
    with pytest.raises(DataError) as error:
        recognize(folder)
    text = str(error.value)
    assert "it holds notes.txt, scans/" in text and "nnunet" in text
    assert f"{folder}/images/CASE_1.nii.gz" in text and f"{folder}/labels/CASE_1.nii.gz" in text


def test_an_empty_folder_and_a_wrong_path_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        recognize(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such file or folder; expected the folder of a data set"):
        recognize(tmp_path / "nowhere")


def test_where_two_layouts_fit_a_person_decides(write) -> None:
    folder = write("volume-1.nii", "segmentation-1.nii", "train_images/a_0000.nii.gz", "train_mask/a.nii.gz")
    with pytest.raises(DataError, match="fits several layouts, flare21, lits; --layout NAME decides"):
        recognize(folder)
    assert recognize(folder, "lits").cases[0]["case"] == "volume-1"


def test_an_unknown_layout_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be auto or one of abdomenct1k, .*, got 'kits'"):
        recognize(tmp_path, "kits")


def test_every_layout_but_the_tasks_of_the_decathlon_is_recognized_as_itself(write) -> None:
    folder = write("images/Case_00001_0000.nii.gz", "labels/Case_00001.nii.gz")
    assert recognize(folder).layout == "abdomenct1k"  # not the plain layout, which says nothing of its organs
    assert set(LAYOUTS) == {*WRITERS, "abdomenct1k"}


def test_a_data_set_of_other_channels_or_structures_is_refused_by_their_names(write) -> None:
    pair = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    folder = write(modality={"0": "T2", "1": "ADC"}, labels={"0": "background", "1": "PZ", "2": "TZ"}, training=[pair])
    with pytest.raises(DataError, match=r"has 2 channels \(T2, ADC\), and this training takes 1"):
        training_cases("auto", folder, label_values=(0, 1, 2))
    with pytest.raises(DataError, match=r"structures that this training does not take: TZ \(2\); it takes .*\[0, 1\]"):
        training_cases("auto", folder, channels=2, label_values=(0, 1))


@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "PZ"}, {"background": 0, "PZ": 1}, {"background": "0", "PZ": "1"}]
)
def test_labels_of_the_decathlon_may_be_written_either_way(write, labels: dict) -> None:
    pair = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    assert recognize(write(labels=labels, training=[pair])).structures == {"PZ": 1}


@pytest.mark.parametrize("labels", [["liver"], {"liver": 1.5}, {"liver": -1}, {"liver": []}, {"liver": True}])
def test_labels_that_cannot_be_understood_are_shown(write, labels: object) -> None:
    pair = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    with pytest.raises(DataError, match=r"dataset\.json: labels are .*, expected"):
        recognize(write(labels=labels, training=[pair]))


def test_test_images_of_known_sets_are_unlabeled(write) -> None:
    folder = write("volume-1.nii", "segmentation-1.nii", "test-volume-7.nii")
    assert recognize(folder).unlabeled == [{"case": "test-volume-7", "image": str(folder / "test-volume-7.nii")}]


@pytest.mark.parametrize(
    ("channels", "modality"),
    [
        (("CT",), "CT"),
        (("ct_portal",), "CT"),
        (("MRI",), "MR"),
        (("LGE-MRI",), "MR"),
        (("FLAIR", "T1w", "t1gd", "T2w"), "MR"),
        (("T2", "ADC", "DWI"), "MR"),
        (("t2f", "t1n", "t1c", "t2w"), "MR"),
        (("CT", "PET"), "CT, PET"),
        (("zscore",), None),
        (("T1w", "noNorm"), None),
        ((), None),
    ],
)
def test_names_of_channels_tell_the_modality_or_nothing(channels: tuple[str, ...], modality: str | None) -> None:
    assert modality_named(channels) == modality


def test_a_folder_of_data_sets_is_answered_with_their_names(write) -> None:
    folder = write("A/images/a.nii.gz", "A/labels/a.nii.gz", "B/imagesTr/b.nii.gz", "B/labelsTr/b.nii.gz")
    with pytest.raises(DataError, match=r"holds 2 of them, A \(images_labels\), B \(images_labels\); name one: .*/A$"):
        recognize(folder)


def test_a_folder_above_one_data_set_is_answered_with_it(write) -> None:
    folder = write("deep/images/a.nii.gz", "deep/labels/a.nii.gz")
    with pytest.raises(DataError, match=r"holds one, deep \(images_labels\); name it: .*/deep$"):
        recognize(folder)


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_part_of_a_data_set_is_answered_with_the_folder_above(write, part: str) -> None:
    folder = write("images/a.nii.gz", "labels/a.nii.gz")
    with pytest.raises(DataError, match=rf"{part}: is a part of a data set \(images_labels\); name the folder above"):
        recognize(folder / part)


def test_an_image_in_place_of_a_data_set_is_named(write) -> None:
    folder = write("images/a.nii.gz", "labels/a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz: is a file, neither CSV nor JSON; expected the folder") as error:
        recognize(folder / "images/a.nii.gz")
    assert "\n" not in str(error.value)


def patient(above: str, number: int) -> list[str]:
    name = f"BraTS20_Training_{number:03d}"
    return [f"{above}/{name}/{name}_{kind}.nii.gz" for kind in ("flair", "t1", "t1ce", "t2", "seg")]


def test_several_sets_of_brats_are_refused_unless_the_layout_is_named(write) -> None:
    folder = write(*patient("brats2018/HGG", 1), *patient("brats2018/LGG", 2), *patient("brats2020", 3))
    with pytest.raises(DataError, match=r"holds 2 data sets, brats2018, brats2020; name one of them: .*/brats2018, or"):
        recognize(folder)
    assert len(recognize(folder, "brats2020").cases) == 3
    assert len(recognize(folder / "brats2018").cases) == 2  # HGG and LGG are one


def test_a_data_set_beside_brats_is_not_passed_over(write) -> None:
    folder = write(*patient("brats2020", 3), "liver/images/a.nii.gz", "liver/labels/a.nii.gz")
    with pytest.raises(
        DataError, match=r"holds brats2020 data, and beside it one, liver \(images_labels\); name one data set"
    ):
        recognize(folder)
