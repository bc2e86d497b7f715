"""The atrium phantom in the layout of the Decathlon's tasks of one structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.datasets import atria2018_datalist, decathlon_datalist, training_cases
from common.phantoms import write_atria2018, write_task02_heart
from common.transforms import load_on_grid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heart")
    write_task02_heart(str(path), cases=2, seed=3)
    return path


def test_training_reads_the_phantoms_as_it_reads_a_task_of_the_decathlon(folder: Path, tmp_path: Path) -> None:
    cases = training_cases("decathlon", folder, channels=1, label_values=[0, 1], cache_dir=tmp_path)
    assert [case["case"] for case in cases] == ["la_001", "la_002"]


def test_they_are_the_atrial_challenges_patients(folder: Path, tmp_path: Path) -> None:
    write_atria2018(str(tmp_path), cases=2, seed=3)
    load = load_on_grid()
    for ours, theirs in zip(decathlon_datalist(folder), atria2018_datalist(tmp_path), strict=True):
        ours, theirs = load(ours), load(theirs)
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], theirs[key])
