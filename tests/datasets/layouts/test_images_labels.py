"""Plain folders of images and labels."""

from __future__ import annotations

import pytest

from common.datasets import DataError, check_datalist, inference_datalist, recognize


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.nii.gz", "labels/a.nii.gz"),
        ("Image/a.nii.gz", "Label/a.nii.gz"),
        ("images/a.nrrd", "masks/a.mha"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("images/a_image.nii", "labels/a_label.nii"),
        ("images/a.nii", "masks/a_mask.nii"),
        ("a_image.nii.gz", "a_label.nii.gz"),
        ("a-img.nii.gz", "a-seg.nii.gz"),
    ],
)
def test_image_and_label_are_paired_by_their_names(write, image: str, label: str) -> None:
    folder = write(image, label)
    found = recognize(folder)
    assert found.layout == "images_labels"
    assert found.cases == [{"case": "a", "image": str(folder / image), "label": str(folder / label)}]
    assert (found.channels, found.modality, found.structures) == ((), None, {})


def test_numbered_files_are_channels_of_one_image(write) -> None:
    channels = ["images/a_0000.nii.gz", "images/a_0001.nii.gz"]
    folder = write(*channels, "labels/a.nii.gz")
    assert recognize(folder).cases[0]["image"] == [str(folder / file) for file in channels]


def test_numbered_files_with_labels_of_the_same_numbers_are_cases(write) -> None:
    folder = write(*(f"{kind}/scan_000{k}.nii.gz" for kind in ("images", "labels") for k in range(3)))
    found = recognize(folder)
    assert [case["case"] for case in found.cases] == ["scan_0000", "scan_0001", "scan_0002"]
    assert found.cases[1]["label"] == str(folder / "labels/scan_0001.nii.gz")


def test_missing_partners_are_named_by_the_check(write) -> None:
    folder = write("images/a.nii.gz", "labels/b.nii.gz")
    with pytest.raises(DataError) as error:
        check_datalist(recognize(folder).cases)
    assert f"{folder}/labels/a.nii.gz: no such file" in str(error.value)
    assert f"{folder}/images/b.nii.gz: no such file" in str(error.value)


def test_two_files_of_one_case_are_refused(write) -> None:
    folder = write("images/a.nii.gz", "images/a.nrrd", "labels/a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz, .*a\.nrrd: both are called a; remove one"):
        recognize(folder)


def test_inference_takes_the_images_and_no_labels(write) -> None:
    folder = write("images/a.nii.gz", "labels/a.nii.gz")
    assert inference_datalist(folder) == [{"case": "a", "image": str(folder / "images/a.nii.gz")}]
    write("imagesTs/t.nii.gz")
    assert [item["case"] for item in inference_datalist(folder)] == ["t"]
