"""Splits that keep tumor-free cases in every part, read from the labels once and stored."""

from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from common.datasets import positives_only_split, read_split, stratified_split
from common.datasets.errors import DataError

CASES, BEARING = 131, 118  # of Task03_Liver: 118 of 131 have a tumor
FREE = {f"liver_{k}" for k in range(0, CASES, 10)} - {"liver_0"}  # 13 of them


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """As many cases as Task03_Liver has, of a few voxels."""
    folder = tmp_path_factory.mktemp("task")
    cases = []
    for k in range(CASES):
        label = np.zeros((3, 3, 3), np.uint8)
        label[0] = 1
        label[1, 1, 1] = 0 if f"liver_{k}" in FREE else 2
        path = folder / f"liver_{k}.nii"
        nib.save(nib.Nifti1Image(label, np.eye(4)), path)
        cases.append({"case": f"liver_{k}", "image": str(path), "label": str(path)})
    return cases


def names(part) -> set[str]:
    return {item["case"] for item in part}


def stratified(path, cases, fold=0, folds=5, seed=0):
    return stratified_split(path, cases, label_value=2, fold=fold, folds=folds, seed=seed)


def bearing(path, cases, fold=0, folds=9, seed=0):
    return positives_only_split(path, cases, label_value=2, fold=fold, folds=folds, seed=seed)


def test_the_first_fold_of_five_has_105_13_and_13_of_131_cases(task, tmp_path):
    parts = stratified(tmp_path / "splits.json", task)
    assert {part: len(cases) for part, cases in parts.items()} == {"train": 105, "validate": 13, "test": 13}


def test_of_all_folds_every_case_trains_and_none_tests(task, tmp_path):
    parts = stratified(tmp_path / "splits.json", task, fold="all")
    assert {part: len(cases) for part, cases in parts.items()} == {"train": CASES, "validate": 13, "test": 0}
    assert read_split(tmp_path / "splits.json", task, fold="all") == parts
    assert len(bearing(tmp_path / "other.json", task, fold="all")["train"]) == BEARING


@pytest.mark.parametrize("fold", range(5))
def test_every_part_has_its_share_of_tumor_free_cases(task, tmp_path, fold):
    for cases in stratified(tmp_path / "splits.json", task, fold).values():
        assert abs(len(names(cases) & FREE) - len(cases) * 13 / CASES) <= 1


def test_each_case_is_held_out_in_exactly_one_fold(task, tmp_path):
    held_out = []
    for fold in range(5):
        parts = stratified(tmp_path / "splits.json", task, fold)
        held_out += [*names(parts["validate"]), *names(parts["test"])]
        assert names(parts["train"]).isdisjoint(held_out[-len(parts["validate"]) - len(parts["test"]) :])
    assert sorted(held_out) == sorted(names(task))


def test_all_folds_and_the_cases_without_tumor_are_stored_readably(task, tmp_path):
    stratified(tmp_path / "splits.json", task)
    stored = json.loads((tmp_path / "splits.json").read_text())
    assert set(stored["without"]) == FREE and stored["seed"] == 0
    assert [len(fold["validate"] + fold["test"]) for fold in stored["folds"]] == [26, 26, 26, 26, 27]


def test_the_same_seed_gives_the_same_split_whatever_the_order_of_the_cases(task, tmp_path):
    assert stratified(tmp_path / "a.json", task) == stratified(tmp_path / "b.json", task[::-1])


def test_another_seed_gives_another_split(task, tmp_path):
    assert stratified(tmp_path / "a.json", task) != stratified(tmp_path / "b.json", task, seed=1)


def test_labels_are_read_once(task, tmp_path, monkeypatch):
    first = stratified(tmp_path / "splits.json", task)
    monkeypatch.setattr("common.datasets.stored_splits._bearing", lambda *_: pytest.fail("reads the labels again"))
    assert stratified(tmp_path / "splits.json", task) == first


def test_labels_that_changed_are_read_again(task, tmp_path):
    cases = []
    for item in task[:12]:
        path = tmp_path / f"{item['case']}.nii"
        shutil.copy(item["label"], path)
        cases.append({**item, "label": str(path)})
    stratified(tmp_path / "splits.json", cases, folds=3)
    label = np.ones((3, 3, 3), np.uint8)
    nib.save(nib.Nifti1Image(label, np.eye(4)), cases[1]["label"])
    os.utime(cases[1]["label"], ns=(1, 1))
    stratified(tmp_path / "splits.json", cases, folds=3)
    assert cases[1]["case"] in json.loads((tmp_path / "splits.json").read_text())["without"]


def test_few_cases_can_be_split_too(task, tmp_path):
    parts = stratified(tmp_path / "splits.json", task[:5])
    assert [len(parts[part]) for part in ("train", "validate", "test")] == [4, 1, 0]


def test_the_descriptions_split_is_105_and_13_of_the_cases_with_a_tumor(task, tmp_path):
    parts = bearing(tmp_path / "splits.json", task)
    assert len(parts["train"]) == 105 and len(parts["validate"]) == 13
    assert names(parts["train"]) | names(parts["validate"]) == names(task) - FREE


def test_the_descriptions_split_tests_on_what_it_validates_on(task, tmp_path):
    parts = bearing(tmp_path / "splits.json", task)
    assert parts["test"] == parts["validate"]


def test_too_few_cases_with_a_tumor_are_counted(task, tmp_path):
    few = [task[1], *[item for item in task if item["case"] in FREE][:9]]
    with pytest.raises(ValueError, match="found 1: add cases with label 2"):
        bearing(tmp_path / "splits.json", few)


def test_fewer_cases_with_a_tumor_than_folds_make_fewer_folds(task, tmp_path, caplog):
    few = [*task[1:5], *[item for item in task if item["case"] in FREE][:9]]
    assert bearing(tmp_path / "splits.json", few).folds == 4
    assert "4 cases with label 2 make 4 folds, not 9" in caplog.text


def test_a_patients_scans_stay_in_one_part_of_a_stratified_split(task, tmp_path):
    """The 131 cases as 10 patients', told apart by their last digit: 14 of patient 0, 13 of the others."""
    for fold in range(3):
        parts = stratified_split(tmp_path / "s.json", task, label_value=2, fold=fold, folds=3, seed=0, groups=r"(\d)$")
        patients = [{name[-1] for name in names(part)} for part in parts.values()]
        assert all(patients) and sum(map(len, patients)) == len(set.union(*patients)) == 10
        assert 39 <= len(parts["validate"]) + len(parts["test"]) <= 53


def test_patients_with_a_tumor_are_spread_evenly_over_the_folds(task, tmp_path):
    with_tumor = [item for item in task if item["case"] not in FREE][:12]
    cases = [*with_tumor, *[item for item in task if item["case"] in FREE][:12]]
    for fold in range(3):
        parts = stratified_split(
            tmp_path / "s.json", cases, label_value=2, fold=fold, folds=3, seed=0, groups=r"(liver_\d+)"
        )
        held_out = names(parts["validate"]) | names(parts["test"])
        assert len(held_out) == 8 and len(held_out & FREE) == 4


def test_a_stored_split_is_read_for_evaluation_though_files_have_moved(task, tmp_path):
    parts = stratified(tmp_path / "splits.json", task, fold=1)
    moved = [{"case": item["case"], "image": "elsewhere", "label": "elsewhere"} for item in task]
    assert names(read_split(tmp_path / "splits.json", moved, fold=1)["test"]) == names(parts["test"])


def test_a_data_set_that_lacks_cases_of_the_split_is_refused(task, tmp_path):
    stratified(tmp_path / "splits.json", task)
    with pytest.raises(ValueError, match=r"splits\.json: 1 of its cases are not in this data set \(liver_0\)"):
        read_split(tmp_path / "splits.json", task[1:], fold=0)


@pytest.mark.parametrize("folds", [None, [None], [{"train": "liver_0"}], [{"train": [3]}]])
def test_a_damaged_split_is_refused_with_its_file_and_a_remedy(task, tmp_path, folds):
    (tmp_path / "splits.json").write_text(json.dumps({"folds": folds}))
    with pytest.raises(ValueError, match=r"splits\.json: folds must be lists of cases .*; copy the file"):
        read_split(tmp_path / "splits.json", task, fold=0)


def test_a_fold_that_is_not_stored_is_refused(task, tmp_path):
    stratified(tmp_path / "splits.json", task)
    with pytest.raises(ValueError, match="folds 0 to 4, got 5"):
        read_split(tmp_path / "splits.json", task, fold=5)


def test_labels_that_cannot_be_read_are_named(task, tmp_path):
    broken = tmp_path / "broken.nii"
    broken.write_bytes(b"no label")
    with pytest.raises(DataError, match=r"broken\.nii: cannot be read"):
        stratified(tmp_path / "splits.json", [*task[:4], {"case": "x", "image": "", "label": str(broken)}])


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (0, 1), (131, 132), ("0", 5)])
def test_impossible_folds_are_refused(task, tmp_path, fold, folds):
    with pytest.raises(ValueError, match="fold"):
        stratified(tmp_path / "splits.json", task, fold, folds)
