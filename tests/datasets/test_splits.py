"""Cross-validation of cases, and of patients with several scans."""

from __future__ import annotations

import logging

import pytest
from monai.data.utils import partition_dataset

from common.datasets import split
from common.datasets.groups import assigned, grouped

# Patients with 1, 2, 3 and 4 scans, three of each: 30 scans of 12 patients.
SCANS = [{"case": f"patient{p}_{scan}"} for p in range(12) for scan in range(1 + p % 4)]
PATIENT = r"(patient\d+)_"


def names(items: list[dict]) -> list[str]:
    return [item["case"] for item in items]


def patients(items: list[dict]) -> set[str]:
    return {item["case"].split("_")[0] for item in items}


def test_without_groups_the_split_is_monais_shuffled_partition() -> None:
    cases = sorted(SCANS, key=lambda item: item["case"])
    for fold, part in enumerate(partition_dataset(cases, num_partitions=5, shuffle=True, seed=3)):
        assert names(split(SCANS, fold=fold, folds=5, seed=3)["validate"]) == sorted(names(part))


def test_the_scans_of_a_patient_stay_in_one_fold_and_each_validates_once() -> None:
    parts = [split(SCANS, fold=k, folds=5, seed=0, groups=PATIENT) for k in range(5)]
    assert all(patients(part["train"]).isdisjoint(patients(part["validate"])) for part in parts)
    assert sorted(case for part in parts for case in names(part["validate"])) == sorted(names(SCANS))


def test_folds_of_patients_have_about_equal_numbers_of_scans() -> None:
    sizes = [len(split(SCANS, fold=k, folds=5, seed=0, groups=PATIENT)["validate"]) for k in range(5)]
    assert sizes == [6] * 5


def test_the_same_seed_gives_the_same_folds_whatever_the_order_and_another_seed_others() -> None:
    first = split(SCANS, fold=0, folds=3, seed=0, groups=PATIENT)
    assert split(SCANS[::-1], fold=0, folds=3, seed=0, groups=PATIENT) == first
    assert split(SCANS, fold=0, folds=3, seed=1, groups=PATIENT) != first


def test_the_data_list_may_say_the_groups() -> None:
    items = [{"case": str(n), "group": "even" if n % 2 == 0 else "odd"} for n in range(6)]
    assert {*names(split(items, fold=0, folds=2, seed=0, groups="column")["validate"])} in ({*"024"}, {*"135"})


def test_a_data_list_without_groups_is_named() -> None:
    with pytest.raises(ValueError, match=r"groups=column: 30 cases have no group in the data list \(patient0_0, ...\)"):
        split(SCANS, fold=0, folds=2, seed=0, groups="column")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(scan)", "matches no case's name, such as patient0_0"),
        (r"patient\d+", "has 0 groups in parentheses, expected one"),
        (r"(patient)(\d+)", "has 2 groups in parentheses, expected one"),
        ("(patient", "no regular expression"),
    ],
)
def test_a_wrong_pattern_is_an_error_of_one_line(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        split(SCANS, fold=0, folds=2, seed=0, groups=pattern)
    assert "\n" not in str(error.value)


def test_cases_whose_name_does_not_match_are_counted_and_stay_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = grouped([*SCANS[:3], {"case": "x"}], PATIENT)
    assert found == {"patient0": ["patient0_0"], "patient1": ["patient1_0", "patient1_1"], "x": ["x"]}
    assert "does not match 1 of 4 cases" in caplog.text


@pytest.mark.parametrize(
    ("groups", "said"), [(None, "3 cases make 3 folds, not 5"), (PATIENT, "2 groups make 2 folds")]
)
def test_fewer_cases_or_groups_than_folds_make_fewer_folds_and_a_line_says_so(
    groups: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        parts = split(SCANS[:3], fold=1, folds=5, seed=0, groups=groups)
    assert parts.folds == (2 if groups else 3) and said in caplog.text
    assert parts["train"] and parts["validate"]


def test_a_fold_that_few_cases_do_not_make_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 cases make 3 folds, 0 to 2, got fold 3"):
        split(SCANS[:3], fold=3, folds=5, seed=0)


@pytest.mark.parametrize("groups", [None, "(patient)"])
def test_a_single_case_or_patient_is_an_error_that_says_what_to_do(groups: str | None) -> None:
    with pytest.raises(ValueError, match=r"found 1: add (cases|groups) .* --subset all"):
        split(SCANS if groups else SCANS[:1], fold=0, folds=5, seed=0, groups=groups)


def test_what_comes_first_is_spread_before_the_rest() -> None:
    groups = {name: [name] for name in "abcdefgh"}
    blocks = assigned(groups, 4, seed=0, first="abcd")
    assert all(len({*block} & {*"abcd"}) == 1 and len(block) == 2 for block in blocks)


@pytest.mark.parametrize("groups", [None, PATIENT])
def test_of_all_folds_every_case_trains_and_those_of_fold_0_validate(groups, caplog: pytest.LogCaptureFixture) -> None:
    parts = split(SCANS, fold="all", folds=5, seed=0, groups=groups)
    assert sorted(names(parts["train"])) == names(parts["train"]) == sorted(names(SCANS))
    assert parts["validate"] == split(SCANS, fold=0, folds=5, seed=0, groups=groups)["validate"]
    assert "fold all: trains on all 30 cases; validates on 6 of them, which is no test" in caplog.text
