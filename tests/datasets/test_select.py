"""Which cases an evaluation takes."""

from __future__ import annotations

import functools
import logging

import pytest

from common.datasets import cases_trained_on, select, split

CASES = [{"case": name, "image": f"{name}.nii", "label": f"{name}.nii"} for name in "fbdaec"]
PARTS = functools.partial(split, CASES, fold=1, folds=3, seed=0)


def test_a_part_of_the_split_is_taken_by_its_name() -> None:
    assert select(CASES, "validate", parts=PARTS) == PARTS()["validate"]


def test_all_cases_are_taken_without_making_the_split() -> None:
    assert [item["case"] for item in select(CASES, "all", parts=pytest.fail)] == list("abcdef")


def test_an_unknown_part_is_an_error_that_names_the_parts() -> None:
    with pytest.raises(ValueError, match="one of train, validate, all, got 'test'"):
        select(CASES, "test", parts=PARTS)


def test_cases_of_the_training_are_counted_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        select(CASES, "all", parts=PARTS, trained_on=["a", "b", "z"])
    assert "2 of these 6 cases were in the model's training" in caplog.text


def test_the_cases_behind_the_weights_that_a_training_started_from_count_too() -> None:
    assert cases_trained_on({"cases": ["b"], "init": {"cases": ["a", "b"]}}) == ["a", "b"]
    assert cases_trained_on({"cases": ["b"], "init": None}) == cases_trained_on({"cases": ["b"]}) == ["b"]
