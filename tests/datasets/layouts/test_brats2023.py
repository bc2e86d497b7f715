"""BraTS: names and label values changed in 2023, and every year's archive has its own folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.datasets import DataError, brats2020_datalist, check_datalist, inference_datalist, recognize

NEW = ("t2f", "t1n", "t1c", "t2w")
OLD = ("flair", "t1", "t1ce", "t2")


def new(case: str, above: str = "", kinds: tuple[str, ...] = (*NEW, "seg")) -> list[str]:
    return [f"{above}{case}/{case}-{kind}.nii.gz" for kind in kinds]


def old(case: str, above: str = "", kinds: tuple[str, ...] = (*OLD, "seg")) -> list[str]:
    return [f"{above}{case}/{case}_{kind}.nii.gz" for kind in kinds]


def test_channels_are_in_the_order_of_2020_and_visits_are_grouped_by_patient(write) -> None:
    cases = ["BraTS-GLI-00003-000", "BraTS-GLI-00003-001", "BraTS-GLI-00005-000"]
    folder = write(*(file for case in cases for file in new(case)))
    found = recognize(folder)
    assert found.layout == "brats2023" and found.channels == NEW and found.modality == "MR"
    assert found.cases[0]["image"] == [str(folder / file) for file in new(cases[0], kinds=NEW)]
    assert found.groups == dict(zip(cases, ["BraTS-GLI-00003"] * 2 + ["BraTS-GLI-00005"], strict=True))


@pytest.mark.parametrize(
    ("case", "structures"),
    [
        ("BraTS-GLI-00003-000", {"necrotic core": 1, "edema": 2, "enhancing tumor": 3}),
        ("BraTS-MEN-00003-000", {"necrotic core": 1, "edema": 2, "enhancing tumor": 3}),
        (
            "BraTS-GLI-02063-101",  # treated, of 2024
            {"necrotic core": 1, "edema": 2, "enhancing tumor": 3, "resection cavity": 4},
        ),
        ("BraTS-PED-00003-000", {}),  # 2023 and 2024 number them differently, under the same names
    ],
)
def test_label_values_are_those_of_the_challenge(write, case: str, structures: dict) -> None:
    assert recognize(write(*new(case))).structures == structures


def test_until_2021_the_enhancing_tumor_is_4(write) -> None:
    found = recognize(write(*old("BraTS2021_00000")))
    assert found.layout == "brats2020"
    assert found.structures == {"necrotic core": 1, "edema": 2, "enhancing tumor": 4}


def test_high_and_low_grades_in_folders_of_their_own_are_one_data_set(write) -> None:
    folder = write(*old("Brats17_TCIA_1", "HGG/"), *old("Brats17_TCIA_0", "LGG/"))
    assert [case["case"] for case in brats2020_datalist(folder)] == ["Brats17_TCIA_0", "Brats17_TCIA_1"]


def test_validation_patients_are_unlabeled(write) -> None:
    write(*new("BraTS-GLI-00003-000", "TrainingData/"), *new("BraTS-GLI-00001-000", "ValidationData/", NEW))
    found = recognize(write())
    assert [case["case"] for case in found.cases] == ["BraTS-GLI-00003-000"]
    assert [case["case"] for case in found.unlabeled] == ["BraTS-GLI-00001-000"]


def test_a_missing_contrast_is_named_by_the_check(write) -> None:
    folder = write(*new("BraTS-GLI-00003-000", kinds=("t2f", "t1n", "t2w", "seg")))
    with pytest.raises(DataError, match=r"BraTS-GLI-00003-000-t1c\.nii\.gz: no such file or folder"):
        check_datalist(recognize(folder).cases, channels=4)


def test_prediction_takes_a_folder_of_patients_and_one_patient(write) -> None:
    folder = write(*new("BraTS-GLI-00003-000"), *new("BraTS-GLI-00004-000", kinds=NEW))
    listed = inference_datalist(folder)
    assert [item["case"] for item in listed] == ["BraTS-GLI-00003-000", "BraTS-GLI-00004-000"]
    assert inference_datalist(folder / "BraTS-GLI-00003-000") == listed[:1]
    assert [Path(path).name[20:] for path in listed[0]["image"]] == [f"{kind}.nii.gz" for kind in NEW]
