"""Splits whose first folds validate on lists."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from common.datasets import listed_split, read_split, split

BRATS = [{"case": f"BraTS20_Training_{n:03d}"} for n in range(1, 370)]
LITS = [{"case": f"volume-{n}"} for n in range(131)]
# From the list that OSS-Net's authors publish.
PUBLISHED = """1 6 8 17 19 36 61 63 66 67 74 91 97 98 101 102 103 106 111 121 135 142 152 158 163 167 171 180 186 188
192 194 195 210 213 218 230 231 248 252 298 312 347 355 368"""


def names(items: list[dict]) -> list[str]:
    return [item["case"] for item in items]


def brats(path, cases=BRATS, fold=0, folds=8, seed=0):
    return listed_split(path, cases, listed="brats2020", fold=fold, folds=folds, seed=seed)


@pytest.mark.parametrize("seed", [0, 5])
def test_fold_0_of_brats_validates_on_the_45_published_cases_and_trains_on_324(tmp_path, seed):
    parts = brats(tmp_path / "split.json", seed=seed)
    assert names(parts["validate"]) == [f"BraTS20_Training_{int(n):03d}" for n in PUBLISHED.split()]
    assert len(parts["train"]) == 324


@pytest.mark.parametrize(("folds", "size"), [(2, 324), (8, 46)])
def test_each_case_validates_in_exactly_one_fold(tmp_path, folds, size):
    parts = [brats(tmp_path / "split.json", fold=k, folds=folds) for k in range(folds)]
    assert sorted(case for part in parts for case in names(part["validate"])) == names(BRATS)
    assert all(set(names(part["train"])).isdisjoint(names(part["validate"])) for part in parts)
    assert abs(len(parts[1]["validate"]) - size) <= 1


def test_the_other_folds_depend_on_the_seed(tmp_path):
    assert brats(tmp_path / "a.json", fold=1) != brats(tmp_path / "b.json", fold=1, seed=1)


def test_a_part_of_the_data_set_is_split_as_the_whole(tmp_path):
    parts = brats(tmp_path / "split.json", [BRATS[2], BRATS[0]], folds=2)
    assert names(parts["validate"]) == ["BraTS20_Training_001"] and names(parts["train"]) == ["BraTS20_Training_003"]


@pytest.mark.parametrize("name", ["BRATS_001", "BraTS20_Phantom_001", "BraTS20_Training_370"])
def test_other_cases_are_split_by_the_seed_alone_and_the_log_says_so(tmp_path, caplog, name):
    cases = [*BRATS[:20], {"case": name}]
    with caplog.at_level(logging.INFO):
        parts = brats(tmp_path / "split.json", cases, fold=1, folds=3, seed=4)
    assert parts == split(cases, fold=1, folds=3, seed=4)
    assert "3 seeded folds" in caplog.text


def test_cases_of_which_none_is_on_the_list_are_split_by_the_seed_alone(tmp_path):
    cases = BRATS[1:5]  # the list has 1, 6, 8, ...
    assert brats(tmp_path / "split.json", cases, folds=2) == split(cases, fold=0, folds=2, seed=0)


def test_lits_is_split_111_to_20_by_a_seed_that_is_stated(tmp_path):
    parts = listed_split(tmp_path / "split.json", LITS, listed="lits", fold=0, folds=7, seed=3)
    drawn = np.random.default_rng(0).permutation(131)[:20]
    assert set(names(parts["validate"])) == {f"volume-{n}" for n in drawn}
    assert len(parts["train"]) == 111


def test_the_folds_are_stored_for_evaluation(tmp_path):
    parts = brats(tmp_path / "split.json", fold=3)
    assert json.loads((tmp_path / "split.json").read_text())["kind"] == "brats2020"
    assert read_split(tmp_path / "split.json", BRATS, fold=3) == parts


def test_an_unknown_list_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="brats2020, flare21, lits, got 'kits'"):
        listed_split(tmp_path / "split.json", LITS, listed="kits", fold=0, folds=2, seed=0)


@pytest.mark.parametrize(("fold", "folds"), [(8, 8), (0, 1), (369, 370)])
def test_impossible_folds_are_refused(tmp_path, fold, folds):
    with pytest.raises(ValueError, match="fold"):
        brats(tmp_path / "split.json", fold=fold, folds=folds)


def test_without_a_list_all_folds_are_seeded_whatever_the_data(tmp_path):
    parts = [listed_split(tmp_path / "s.json", BRATS, listed=None, fold=k, folds=10, seed=3) for k in range(10)]
    assert parts[4] == split(BRATS, fold=4, folds=10, seed=3)
    assert sorted(len(part["validate"]) for part in parts) == [36] + 9 * [37]


def test_groups_stay_together_and_the_lists_are_then_not_used(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        parts = listed_split(
            tmp_path / "s.json", BRATS, listed="brats2020", fold=0, folds=8, seed=0, groups=r"(\d\d)\d$"
        )
    decades = [{name[-3:-1] for name in names(parts[part])} for part in ("train", "validate")]
    assert decades[0].isdisjoint(decades[1]) and "8 seeded folds: groups stay together" in caplog.text
    assert json.loads((tmp_path / "s.json").read_text())["groups"] == r"(\d\d)\d$"
