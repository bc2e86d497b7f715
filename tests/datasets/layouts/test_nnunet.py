"""nnU-Net's raw data sets: a file for each channel, regions, an ignored label, any format."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.datasets import DataError, check_datalist, inference_datalist, recognize

V2 = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "PZ": 1, "TZ": 2}, "file_ending": ".nii.gz"}


def files(folder: str, case: str, channels: int = 2, ending: str = ".nii.gz") -> list[str]:
    return [f"{folder}/{case}_{k:04d}{ending}" for k in range(channels)]


def test_the_channels_of_a_case_are_its_files_in_their_order(write) -> None:
    folder = write(*files("imagesTr", "b"), *files("imagesTr", "a"), "labelsTr/a.nii.gz", "labelsTr/b.nii.gz", **V2)
    found = recognize(folder)
    assert found.layout == "nnunet" and found.channels == ("T2", "ADC") and found.modality == "MR"
    assert found.cases == [
        {
            "case": case,
            "image": [str(folder / f"imagesTr/{case}_000{k}.nii.gz") for k in range(2)],
            "label": str(folder / f"labelsTr/{case}.nii.gz"),
        }
        for case in "ab"
    ]
    assert found.structures == {"PZ": 1, "TZ": 2} and found.label_values == [0, 1, 2]


def test_of_one_channel_the_image_is_one_file(write) -> None:
    listing = {**V2, "channel_names": {"0": "CT"}}
    folder = write("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", **listing)
    assert recognize(folder).cases[0]["image"] == str(folder / "imagesTr/a_0000.nii.gz")
    assert recognize(folder).modality == "CT"


def test_regions_and_the_ignored_label_are_told_apart_from_structures(write) -> None:
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3, "ignore": 4}
    listing = {**V2, "labels": labels, "regions_class_order": [1, 2, 3]}
    found = recognize(write(*files("imagesTr", "a"), "labelsTr/a.nii.gz", **listing))
    assert found.structures == {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
    assert found.ignore == 4 and found.regions_class_order == (1, 2, 3) and found.label_values == [0, 1, 2, 3, 4]


def test_regions_without_an_order_are_refused(write) -> None:
    listing = {**V2, "labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1]}
    with pytest.raises(
        DataError, match=r"regions_class_order is \[1\], expected a label value for each of whole, core"
    ):
        recognize(write(*files("imagesTr", "a"), "labelsTr/a.nii.gz", **listing))


def test_version_1_is_told_from_the_decathlon_by_its_files(write) -> None:
    listing = {
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": ["./imagesTs/t.nii.gz"],
    }
    found = recognize(write(*files("imagesTr", "a"), "labelsTr/a.nii.gz", *files("imagesTs", "t"), **listing))
    assert (found.layout, found.structures, len(found.cases[0]["image"])) == ("nnunet", {"PZ": 1}, 2)
    assert [case["case"] for case in found.unlabeled] == ["t"]


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii"])
def test_any_file_ending_is_read_and_others_are_left_alone(write, ending: str) -> None:
    names = [*files("imagesTr", "a", ending=ending), *files("imagesTr", "b"), f"labelsTr/a{ending}"]
    found = recognize(write(*names, **{**V2, "file_ending": ending}))
    assert [case["case"] for case in found.cases] == ["a"]
    assert found.cases[0]["label"].endswith(f"labelsTr/a{ending}")


def test_a_file_ending_that_no_reader_knows_is_refused(write) -> None:
    with pytest.raises(DataError, match=r"file_ending is '\.png', expected one of \.nii\.gz"):
        recognize(write("imagesTr/a_0000.png", "labelsTr/a.png", **{**V2, "file_ending": ".png"}))


def test_a_missing_channel_or_label_is_named_by_the_check(write) -> None:
    folder = write("imagesTr/a_0000.nii.gz", *files("imagesTr", "b"), "labelsTr/a.nii.gz", **V2)
    with pytest.raises(DataError) as error:
        check_datalist(recognize(folder).cases, channels=2)
    assert f"a: {folder}/imagesTr/a_0001.nii.gz: no such file or folder" in str(error.value)
    assert f"b: {folder}/labelsTr/b.nii.gz: no such file or folder" in str(error.value)


def test_cases_that_dataset_lists_lie_anywhere(write) -> None:
    listed = {"a": {"images": ["raw/x.nii.gz", "raw/y.nii.gz"], "label": "drawn/a.nii.gz"}}
    folder = write("raw/x.nii.gz", "raw/y.nii.gz", "drawn/a.nii.gz", **V2, dataset=listed)
    [case] = recognize(folder).cases
    assert case["image"] == [str(folder / "raw/x.nii.gz"), str(folder / "raw/y.nii.gz")]
    assert case["label"] == str(folder / "drawn/a.nii.gz")


@pytest.mark.parametrize("dataset", [["a"], {"a": {"images": []}}, {"a": {"images": ["x"], "label": None}}])
def test_cases_that_dataset_lists_without_files_are_named(write, dataset: object) -> None:
    with pytest.raises(DataError, match='"dataset" has no "images" and "label" of'):
        recognize(write(**V2, dataset=dataset))


def test_inference_takes_imagests_or_else_the_training_images_and_a_folder_of_channels(write) -> None:
    folder = write(*files("imagesTr", "a"), "labelsTr/a.nii.gz", **V2)
    [item] = inference_datalist(folder)
    assert item == {"case": "a", "image": [str(folder / file) for file in files("imagesTr", "a")]}
    write(*files("imagesTs", "t"))
    assert [item["case"] for item in inference_datalist(folder)] == ["t"]
    assert inference_datalist(folder / "imagesTr") == [item]


def test_a_case_that_lacks_a_channel_in_a_folder_is_one_case_that_fails(tmp_path: Path, write) -> None:
    write(*files("in", "a"), "in/b_0001.nii.gz", "in/c_2019.nii.gz")
    listed = {item["case"]: item["image"] for item in inference_datalist(tmp_path / "in")}
    assert list(listed) == ["a", "b", "c_2019"]
    assert listed["b"] == [str(tmp_path / f"in/b_000{k}.nii.gz") for k in range(2)]
    assert listed["c_2019"] == str(tmp_path / "in/c_2019.nii.gz")
