"""The abdomen phantom in LiTS's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.datasets import decathlon_datalist, listed_split, lits_datalist, training_cases
from common.phantoms import write_lits, write_task03_liver
from common.transforms import load_on_grid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lits")
    write_lits(str(path), cases=2, seed=3)
    return path


def test_training_reads_the_phantoms_as_it_reads_lits(folder: Path, tmp_path: Path) -> None:
    cases = training_cases("lits", folder, label_values=[0, 1, 2], cache_dir=tmp_path)
    assert [case["case"] for case in cases] == ["volume-1000", "volume-1001"]


def test_they_are_the_decathlons_patients(folder: Path, tmp_path: Path) -> None:
    write_task03_liver(str(tmp_path), cases=2, seed=3)
    load = load_on_grid(classes=True)
    for ours, theirs in zip(lits_datalist(folder), decathlon_datalist(tmp_path), strict=True):
        ours, theirs = load(ours), load(theirs)
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_the_list_of_lits_does_not_apply_to_them(folder: Path, tmp_path: Path) -> None:
    listed_split(tmp_path / "split.json", lits_datalist(folder), listed="lits", fold=0, folds=2, seed=0)
    assert '"kind": "seeded"' in (tmp_path / "split.json").read_text()
