"""Hosts give images and labels alone: their cases get names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from common.datasets import CachedDataset, DataError
from common.datasets.names import named_cases
from common.engines import CohortDataset


def names(items: list[dict]) -> list[str]:
    return [item["case"] for item in named_cases(items)]


def test_a_case_is_called_after_its_image() -> None:
    assert names([{"image": "/d/a.nii.gz", "label": "/l/b.nii.gz"}, {"image": "/d/c_0000.nii.gz"}]) == ["a", "c"]


def test_a_name_that_is_given_stays() -> None:
    items = [{"case": "patient 7", "image": "/d/a.nii.gz"}, {"image": "/d/b.nii.gz"}]
    assert names(items) == ["patient 7", "b"]


def test_a_patients_channels_make_one_case() -> None:
    image = [f"/d/BraTS20_Training_001_{channel}.nii.gz" for channel in ("flair", "t1", "t1ce", "t2")]
    assert names([{"image": image}]) == ["BraTS20_Training_001"]


def test_images_of_one_name_are_told_apart_by_their_folders() -> None:
    assert names([{"image": "/d/p1/ct.nii.gz"}, {"image": "/d/p2/ct.nii.gz"}]) == ["p1_ct", "p2_ct"]


def test_a_derived_name_is_told_apart_from_a_given_one() -> None:
    assert names([{"case": "ct", "image": "/d/p1/x.nii.gz"}, {"image": "/d/p2/ct.nii.gz"}]) == ["ct", "p2_ct"]


def test_a_case_that_is_there_several_times_has_one_name() -> None:
    assert names([{"image": "/d/a.nii.gz"}, {"image": "/d/b.nii.gz"}] * 2) == ["a", "b", "a", "b"]


def test_images_that_cannot_be_told_apart_are_an_error() -> None:
    with pytest.raises(DataError, match="cannot be told apart"):
        named_cases([{"image": "/a.nii.gz"}, {"image": "/a.nii"}])


def test_an_image_in_memory_has_no_name() -> None:
    item = {"image": torch.zeros(1, 2, 2, 2)}
    assert named_cases([item]) == [item]


def test_the_items_of_the_host_stay_as_they_are() -> None:
    items = [{"image": "/d/a.nii.gz"}]
    named_cases(items)
    assert items == [{"image": "/d/a.nii.gz"}]


def test_datasets_name_the_cases_of_their_lists(tmp_path: Path) -> None:
    items = [{"image": "/d/a.nii.gz"}]
    cached = CachedDataset(items, [], None)
    assert [dataset.data[0]["case"] for dataset in (cached, CohortDataset(items, dict))] == ["a", "a"]
    cached.set_data([{"image": "/d/b.nii.gz"}])
    assert cached.data[0]["case"] == "b"


def test_a_broken_file_of_a_case_without_a_name_is_recorded_under_the_derived_one() -> None:
    def fail(item: dict) -> None:
        raise ValueError("broken")

    assert CohortDataset([{"image": "/d/a.nii.gz"}], fail)[0]["case"] == "a"
