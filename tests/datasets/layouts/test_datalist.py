"""A CSV or JSON file that names image and label of each case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.datasets import DataError, inference_datalist, recognize


def table(folder: Path, text: str, name: str = "datalist.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_row_is_a_case_with_paths_relative_to_the_file(tmp_path: Path) -> None:
    file = table(tmp_path, "case,image,label,patient\nx,s/1.nii.gz,/abs/2.nii.gz,P1\ny,s/3.nii.gz,4.nii.gz,P1\n")
    found = recognize(tmp_path)
    assert found.layout == "datalist" and found == recognize(file)
    assert found.cases[0] == {"case": "x", "image": str(tmp_path / "s/1.nii.gz"), "label": "/abs/2.nii.gz"}
    assert found.groups == {"x": "P1", "y": "P1"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_of_channels_are_their_names_whatever_stands_between_them(tmp_path: Path, delimiter: str) -> None:
    rows = [["Label", "image_T1w", "image_FLAIR"], ["l.nii.gz", "t.nii.gz", "f.nii.gz"]]
    table(tmp_path, "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows))
    found = recognize(tmp_path)
    assert found.channels == ("T1w", "FLAIR") and found.modality == "MR"
    assert found.cases[0]["image"] == [str(tmp_path / "t.nii.gz"), str(tmp_path / "f.nii.gz")]


def test_numbered_columns_are_channels_in_their_order(tmp_path: Path) -> None:
    table(tmp_path, "image_1,image_0,label\nb.nii,a.nii,l.nii\n")
    assert [Path(path).name for path in recognize(tmp_path).cases[0]["image"]] == ["a.nii", "b.nii"]
    assert recognize(tmp_path).channels == ()


def test_a_csv_of_any_name_is_found_by_its_columns(tmp_path: Path) -> None:
    table(tmp_path, "Image,Label\na.nii,b.nii\n", "my scans.csv")
    table(tmp_path, "age,sex\n50,f\n", "survival.csv")
    assert [case["case"] for case in recognize(tmp_path).cases] == ["a"]


def test_a_case_without_a_label_is_unlabeled_and_what_inference_takes(tmp_path: Path) -> None:
    file = table(tmp_path, "case,image,label\nx,1.nii,2.nii\ny,3.nii,\n")
    (tmp_path / "3.nii").touch()
    assert recognize(tmp_path).unlabeled == [{"case": "y", "image": str(tmp_path / "3.nii")}]
    assert inference_datalist(file) == inference_datalist(tmp_path) == recognize(tmp_path).unlabeled


def test_json_may_be_an_array_or_have_training_testing_channels_and_labels(tmp_path: Path) -> None:
    rows = [{"image": ["x.nii", "y.nii"], "label": "a.nii", "patient": 7}]
    table(tmp_path, json.dumps(rows), "datalist.json")
    assert recognize(tmp_path).groups == {"x": "7"}
    described = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "PZ": [1, 2], "TZ": 2}}
    content = {**described, "regions_class_order": [1, 2], "training": rows, "testing": [{"image": ["t.nii", "u.nii"]}]}
    found = recognize(table(tmp_path, json.dumps(content), "datalist.json"))
    assert found.channels == ("T2", "ADC") and found.structures == {"PZ": [1, 2], "TZ": 2}
    assert [case["case"] for case in found.unlabeled] == ["t"]


def test_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    table(tmp_path, "image,label\np1/scan.nii,p1/seg.nii\np2/scan.nii,p2/seg.nii\n")
    assert [case["case"] for case in recognize(tmp_path).cases] == ["p1_scan", "p2_scan"]


def test_rows_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    table(tmp_path, "case,image,label\nx,,2.nii\na/b,1.nii,2.nii\n")
    with pytest.raises(DataError, match=r"(?s)entry 1: no image.*entry 2: case 'a/b' is no name of a file"):
        recognize(tmp_path)


def test_a_case_given_twice_is_refused(tmp_path: Path) -> None:
    table(tmp_path, "case,image,label\nx,1.nii,2.nii\nx,3.nii,4.nii\n")
    with pytest.raises(DataError, match="cannot be told apart"):
        recognize(tmp_path)


def test_a_list_without_labels_is_nothing_to_train_on(tmp_path: Path) -> None:
    table(tmp_path, "image,label\n1.nii,\n")
    with pytest.raises(DataError, match="holds no labeled case, only 1 images"):
        recognize(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"cases": []}', "3"])
def test_json_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"datalist\.json: (expected|cannot be read)"):
        recognize(table(tmp_path, text, "datalist.json"))
