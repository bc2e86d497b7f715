"""Which cases an evaluation takes."""

from __future__ import annotations

import functools
import hashlib
import logging
from pathlib import Path

import pytest

from common.datasets import cases_trained_on, select, split
from common.datasets.identity import image_hash, name_hash, names_hashed

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
        select(CASES, "all", parts=PARTS, plan={"cases": ["a", "b", "z"]})
    assert "2 of these 6 cases were in the model's training" in caplog.text


def test_the_cases_behind_the_weights_that_a_training_started_from_count_too() -> None:
    assert cases_trained_on({"cases": ["b"], "init": {"cases": ["a", "b"]}}, CASES) == ["a", "b"]
    assert cases_trained_on({"cases": ["b"], "init": None}, CASES) == cases_trained_on({"cases": ["b"]}, CASES) == ["b"]


def test_a_case_is_known_by_the_hash_of_its_name() -> None:
    assert cases_trained_on({"cases": names_hashed(["b", "z"]), "init": {"cases": names_hashed("d")}}, CASES) == [
        "b",
        "d",
    ]
    assert name_hash("b") == "name:" + hashlib.sha256(b"b").hexdigest()[:16]


def test_a_renamed_case_is_known_by_its_image(tmp_path: Path) -> None:
    for name, content in (("a.nii", b"1" * 5000), ("b.nii", b"2" * 5000), ("c_flair.nii", b"3"), ("c_t1.nii", b"4")):
        (tmp_path / name).write_bytes(content)
    hashes = [image_hash(tmp_path / "a.nii"), image_hash([tmp_path / "c_flair.nii", tmp_path / "c_t1.nii"])]
    (tmp_path / "a.nii").rename(tmp_path / "x.nii")
    (tmp_path / "c_t1.nii").rename(tmp_path / "c_0001.nii")
    images = {"x": "x.nii", "b": "b.nii"}
    cases = [{"case": case, "image": str(tmp_path / file)} for case, file in images.items()]
    cases.append({"case": "y", "image": [str(tmp_path / "c_flair.nii"), str(tmp_path / "c_0001.nii")]})
    assert cases_trained_on({"cases": [], "image_hashes": hashes}, cases) == ["x", "y"]


def test_one_changed_byte_makes_another_image(tmp_path: Path) -> None:
    file = tmp_path / "a.nii"
    file.write_bytes(b"1" * 5000)
    before = image_hash(file)
    file.write_bytes(b"1" * 4999 + b"2")
    assert image_hash(file) != before and image_hash(tmp_path / "none.nii") is None
