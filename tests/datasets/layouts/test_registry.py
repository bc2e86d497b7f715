"""Datalists of the on-disk layouts, and folds."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from monai.data import partition_dataset

from common.datasets import DataError, atria2018_datalist, check_datalist, decathlon_datalist, decathlon_download, split

CASES = [{"case": f"p{k:02d}"} for k in range(11)]


def test_a_patients_image_and_label_are_paired_by_their_folder(challenge_folder):
    items = atria2018_datalist(challenge_folder)
    assert items == [
        {
            "case": patient,
            "image": str(challenge_folder / patient / "lgemri.nrrd"),
            "label": str(challenge_folder / patient / "laendo.nrrd"),
        }
        for patient in ("A", "B")
    ]


def test_labels_are_not_needed_for_prediction(challenge_folder):
    (challenge_folder / "A" / "laendo.nrrd").unlink()
    assert [set(item) for item in atria2018_datalist(challenge_folder, labeled=False)] == [{"case", "image"}] * 2


def test_all_missing_files_are_named_in_one_message(challenge_folder):
    gone = [challenge_folder / "A" / "laendo.nrrd", challenge_folder / "B" / "lgemri.nrrd"]
    for path in gone:
        path.unlink()
    with pytest.raises(DataError) as error:
        check_datalist(atria2018_datalist(challenge_folder), label_values=(0, 255))
    assert all(str(path) in str(error.value) for path in gone)
    assert str(error.value).count(": no such file or folder") == 2


def test_a_wrong_path_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        atria2018_datalist(tmp_path / "nowhere")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path.name}: holds no patient folders"):
        atria2018_datalist(tmp_path)


def test_all_real_patients_are_found(shared_data):
    assert len(atria2018_datalist(shared_data / "atria2018")) == 80


def test_a_decathlon_case_is_what_the_json_lists_not_what_lies_in_the_folder(tmp_path):
    listed = {"image": "./imagesTr/la_007.nii.gz", "label": "./labelsTr/la_007.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [listed], "test": ["./imagesTs/la_001.nii.gz"]}))
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "la_099.nii.gz").touch()
    [item] = decathlon_datalist(tmp_path)
    assert item == {
        "case": "la_007",
        "image": str(tmp_path / "imagesTr" / "la_007.nii.gz"),
        "label": str(tmp_path / "labelsTr" / "la_007.nii.gz"),
    }
    assert decathlon_datalist(tmp_path, "test") == [
        {"case": "la_001", "image": str(tmp_path / "imagesTs" / "la_001.nii.gz")}
    ]


@pytest.mark.parametrize(
    "text", [None, "{", "{}", '{"training": []}', '{"training": ["a.nii.gz"]}', '{"training": [{}]}']
)
def test_an_unusable_dataset_json_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json"):
        decathlon_datalist(tmp_path)


def test_nothing_is_downloaded_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("monai.apps.utils.download_and_extract", lambda *a, **k: pytest.fail("downloads"))
    (tmp_path / "Task02_Heart").mkdir()
    (tmp_path / "Task02_Heart" / "dataset.json").touch()
    assert decathlon_download("Task02_Heart", tmp_path) == tmp_path / "Task02_Heart"


def test_size_and_license_are_named_before_a_download_begins(tmp_path, monkeypatch, capsys):
    said = []
    answer = SimpleNamespace(headers={"Content-Length": "28925891584"})
    monkeypatch.setattr("urllib.request.urlopen", lambda request, timeout: nullcontext(answer))
    monkeypatch.setattr("monai.apps.utils.download_and_extract", lambda *a, **k: said.append(capsys.readouterr().out))
    decathlon_download("Task03_Liver", tmp_path)
    assert "Task03_Liver: 28.9 GB, license CC BY-SA 4.0" in said[0]


def test_an_unknown_decathlon_task_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="Task02_Heart"):
        decathlon_download("Heart", tmp_path)


def test_every_case_validates_in_exactly_one_fold():
    validated = [item["case"] for fold in range(4) for item in split(CASES, fold=fold, folds=4, seed=3)["validate"]]
    assert sorted(validated) == [item["case"] for item in CASES]


def test_no_case_both_trains_and_validates():
    parts = split(CASES, fold=1, folds=4, seed=3)
    assert sorted(item["case"] for part in parts.values() for item in part) == [item["case"] for item in CASES]


def test_the_split_does_not_depend_on_the_order_of_the_list():
    shuffled = random.Random(1).sample(CASES, len(CASES))
    assert split(shuffled, fold=2, folds=5, seed=0) == split(CASES, fold=2, folds=5, seed=0)


def test_another_seed_gives_another_split():
    assert split(CASES, fold=0, folds=5, seed=0) != split(CASES, fold=0, folds=5, seed=1)


def test_the_split_is_monais_partition():
    expected = partition_dataset(CASES, num_partitions=5, shuffle=True, seed=7)[3]
    assert split(CASES, fold=3, folds=5, seed=7)["validate"] == sorted(expected, key=lambda item: item["case"])


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (-1, 5), (0, 1), ("0", 5), (True, 5)])
def test_impossible_folds_are_refused(fold, folds):
    with pytest.raises(ValueError, match="fold"):
        split(CASES, fold=fold, folds=folds, seed=0)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"image": "a.nii.gz"}, r'entry 2 is \{"image": "a.nii.gz"\}, expected the path of "image" and "label"'),
        ({"image": "a.nii.gz", "label": ""}, "entry 2 is"),
        ({"image": " ", "label": "b.nii.gz"}, "entry 2 is"),
        ({"image": "a.nii.gz", "label": None}, "entry 2 is"),
        ({"image": ["a.nii.gz"], "label": "b.nii.gz"}, "entry 2 is"),
        (3, "entry 2 is 3, expected"),
    ],
)
def test_an_entry_of_the_decathlon_that_names_no_file_is_quoted(tmp_path, entry, said):
    good = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [good, entry]}))
    with pytest.raises(DataError, match=rf"dataset\.json: no usable list 'training': {said}"):
        decathlon_datalist(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "is damaged or no JSON"),
        ("<html>", "is a web page, expected JSON"),
        ("[]", "holds a list, expected a JSON object"),
        ('{"training": {"a": 1}}', "expected an array, found a dict"),
        ('{"test": []}', "expected an array, found none"),
    ],
    ids=["deep", "web page", "list", "object", "no list"],
)
def test_a_dataset_json_of_another_form_is_named(tmp_path, content, said):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=rf"dataset\.json: .*{said}"):
        decathlon_datalist(tmp_path)
