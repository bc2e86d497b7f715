"""The published folds of FLARE 2021's winner, and the cases it saw more often."""

from __future__ import annotations

import json

import pytest

from common.datasets import flare21_split, oversampled, read_split

FLARE = [{"case": f"train_{n:03d}"} for n in range(361)]
OTHERS = [{"case": f"phantom_{n:03d}"} for n in range(11)]
# written off the specification: some of the 73 and of the 30, from their start, middle and end
FOLD_1 = {5, 6, 7, 15, 20, 162, 167, 170, 179, 186, 306, 322, 342}
LESIONS = {2, 44, 55, 134, 136, 142, 240, 258, 275}


def names(items) -> list[str]:
    return [item["case"] for item in items]


def splits(folder, cases=FLARE, folds=5, seed=0) -> list[dict]:
    return [flare21_split(folder / "split.json", cases, fold=fold, folds=folds, seed=seed) for fold in range(folds)]


def test_the_first_published_fold_trains_on_288_cases_and_validates_on_73(tmp_path):
    parts = splits(tmp_path)[0]
    assert (len(parts["train"]), len(parts["validate"])) == (288, 73)
    assert {f"train_{n:03d}" for n in FOLD_1} < set(names(parts["validate"]))


def test_folds_two_to_five_validate_on_runs_of_72_of_the_first_folds_training_cases(tmp_path):
    first, *others = splits(tmp_path)
    trained = sorted(names(first["train"]))
    for k, parts in enumerate(others):
        assert names(parts["validate"]) == trained[72 * k : 72 * (k + 1)]


def test_each_case_validates_in_exactly_one_fold_and_trains_in_the_others(tmp_path):
    folds = splits(tmp_path)
    assert sorted(case for parts in folds for case in names(parts["validate"])) == names(FLARE)
    assert all(sorted(names(parts["train"]) + names(parts["validate"])) == names(FLARE) for parts in folds)


def test_the_published_folds_depend_on_neither_seed_nor_order(tmp_path):
    assert splits(tmp_path / "a") == splits(tmp_path / "b", cases=FLARE[::-1], seed=7)


def test_a_few_missing_cases_leave_the_published_folds_as_they_are(tmp_path):
    parts = splits(tmp_path, cases=FLARE[10:])[0]
    assert len(parts["validate"]) == 73 - 3  # 005, 006, 007
    assert len(parts["train"]) == 288 - 7


@pytest.mark.parametrize("cases", [OTHERS, FLARE[:40], [*FLARE, OTHERS[0]]])
def test_other_cases_and_small_parts_are_split_by_the_seed_and_the_log_says_so(tmp_path, cases, caplog):
    caplog.set_level("INFO")
    folds = splits(tmp_path, cases=cases)
    held_out = [case for parts in folds for case in names(parts["validate"])]
    assert sorted(held_out) == sorted(names(cases))
    assert max(len(parts["validate"]) for parts in folds) - min(len(parts["validate"]) for parts in folds) <= 1
    assert "5 seeded folds" in caplog.text and "as listed" not in caplog.text


def test_another_number_of_folds_is_split_by_the_seed(tmp_path):
    assert [len(parts["validate"]) for parts in splits(tmp_path, folds=4)] == [91, 90, 90, 90]
    assert splits(tmp_path, folds=4) != splits(tmp_path, folds=4, seed=1)


def test_the_stored_folds_say_whose_they_are_and_are_read_for_evaluation(tmp_path):
    parts = splits(tmp_path)[3]
    assert json.loads((tmp_path / "split.json").read_text())["kind"] == "flare21"
    assert read_split(tmp_path / "split.json", FLARE, fold=3) == parts


def test_the_thirty_lesion_cases_are_seen_four_times_23_of_them_in_the_first_fold(tmp_path):
    parts = splits(tmp_path)[0]
    assert len(oversampled(FLARE)) == 361 + 3 * 30
    assert len(oversampled(parts["train"])) == 288 + 3 * 23
    seen = names(oversampled(FLARE))
    assert {seen.count(f"train_{n:03d}") for n in LESIONS} == {4} and set(map(seen.count, seen)) == {1, 4}


def test_ones_own_lesion_cases_are_seen_as_often_as_one_says():
    items = oversampled(OTHERS[:3], times=3, lesions=["phantom_001", "elsewhere"])
    assert names(items) == ["phantom_000", *["phantom_001"] * 3, "phantom_002"]
