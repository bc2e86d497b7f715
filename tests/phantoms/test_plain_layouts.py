"""Phantoms in nnU-Net's, BraTS 2023's, BIDS's and plain layouts are those of the other layouts, in other files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datasets import is_phantom, recognize
from common.phantoms import WRITERS, write_brats2020, write_brats2023, write_datalist, write_nnunet

NEW = ("bids", "brats2023", "datalist", "images_labels", "nnunet")


def labels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(nib.load(case["label"]).dataobj) for case in recognize(folder).cases]


@pytest.mark.parametrize("layout", NEW)
def test_a_set_is_marked_and_the_same_for_the_same_seed(layout: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        WRITERS[layout](str(tmp_path / name), 1, 3)
    assert is_phantom(tmp_path / "a")
    assert np.array_equal(labels(tmp_path / "a")[0], labels(tmp_path / "b")[0])


def test_nnunets_and_brats_2023s_are_the_patients_of_brats_2020(tmp_path: Path) -> None:
    write_brats2020(str(tmp_path / "2020"), cases=2, seed=0)
    write_brats2023(str(tmp_path / "2023"), cases=2, seed=0)
    write_nnunet(str(tmp_path / "nnunet"), cases=2, seed=0)
    every = (labels(tmp_path / "2020"), labels(tmp_path / "2023"), labels(tmp_path / "nnunet"))
    for old, new, own in zip(*every, strict=True):
        assert np.array_equal(np.where(old == 4, 3, old), new)
        assert [np.count_nonzero(own == value) for value in (1, 2, 3)] == [
            np.count_nonzero(old == value) for value in (2, 1, 4)
        ]


def test_regions_of_nnunet_are_nested_and_there_is_a_test_image(tmp_path: Path) -> None:
    write_nnunet(str(tmp_path), cases=1, seed=0)
    found = recognize(tmp_path)
    assert found.structures == {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
    assert [len(item["image"]) for item in found.unlabeled] == [4]


def test_visits_and_scans_are_grouped_by_patient(tmp_path: Path) -> None:
    write_brats2023(str(tmp_path / "a"), cases=3, seed=0)
    write_datalist(str(tmp_path / "b"), cases=3, seed=0)
    for folder in ("a", "b"):
        groups = list(recognize(tmp_path / folder).groups.values())
        assert groups[0] == groups[1] != groups[2]
