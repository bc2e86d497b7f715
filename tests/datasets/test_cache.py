"""What is kept on disk, and when it is computed again."""

from __future__ import annotations

import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, Lambdad, LoadImaged, RandGaussianNoised, ScaleIntensityRanged, Transform

from common.datasets import CachedDataset, atria2018_datalist
from common.phantoms import write_atria2018
from common.transforms import load_on_grid
from tests import forks


class Scale(Transform):
    """Scales the image and counts its calls."""

    calls: ClassVar[list] = []

    def __init__(self, factor, options=()):
        self.factor = factor
        self.options = options

    def __call__(self, data):
        self.calls.append(self.factor)
        return {**data, "image": data["image"] * self.factor}


@pytest.fixture
def calls():
    Scale.calls.clear()
    return Scale.calls


@pytest.fixture
def dataset(write_case, tmp_path):
    """Makes a data set of one case with a given scale."""

    def make(scale, *, item=None):
        load = Compose([LoadImaged(keys="image", image_only=True, ensure_channel_first=True)])
        steps = [load, scale, RandGaussianNoised(keys="image", prob=0)]
        return CachedDataset([item or write_case()], Compose(steps), tmp_path / "cache")

    return make


def test_a_result_is_computed_once(dataset, write_case, calls):
    item = write_case()
    first, again = (dataset(Scale(2.0), item=item)[0]["image"] for _ in range(2))
    assert calls == [2.0]
    assert torch.equal(first, again)


def test_what_comes_from_disk_keeps_its_affine(dataset, write_case):
    item = write_case()
    images = [dataset(Scale(2.0), item=item)[0]["image"] for _ in range(2)]
    np.testing.assert_allclose(images[1].affine.numpy(), np.diag([-1.25, -1.25, 2.5, 1.0]))
    assert images[1].meta["filename_or_obj"] == item["image"]


def test_a_changed_file_is_computed_again(dataset, write_case, calls):
    item = write_case()
    dataset(Scale(2.0), item=item)[0]
    item = write_case(image=np.full((6, 5, 4), 3, np.float32))
    assert dataset(Scale(2.0), item=item)[0]["image"].unique().tolist() == [6.0]
    assert calls == [2.0, 2.0]


def test_a_file_with_another_time_is_computed_again(dataset, write_case, calls):
    item = write_case()
    data = dataset(Scale(2.0), item=item)
    data[0]
    os.utime(item["image"], ns=(1, 1))
    data[0]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scale(2.0), Scale(3.0)),
        (Scale(2.0, [1, {"a": np.ones(3)}]), Scale(2.0, [1, {"a": np.zeros(3)}])),
        (Scale(2.0, torch.nn.Linear(2, 2)), Scale(2.0, torch.nn.Linear(2, 2))),
        (Scale(2.0, partial(max, 1)), Scale(2.0, partial(max, 2))),
        (Lambdad("image", lambda x: x + 1), Lambdad("image", lambda x: x + 2)),
        (ScaleIntensityRanged("image", 0, 1, 0, 1), ScaleIntensityRanged("image", 0, 2, 0, 1)),
    ],
)
def test_a_changed_parameter_changes_the_key(dataset, write_case, one, other):
    item = write_case()
    assert dataset(one, item=item).transform_hash != dataset(other, item=item).transform_hash


def reader_of(content):
    """A function as MONAI makes it of a config's ``$lambda x: x * @factor``."""
    return eval("lambda x: x * __local_refs['factor']", {"__local_refs": {"factor": content, "other": 5}})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x, by=1: x * by, lambda x, by=2: x * by),
        (lambda x, *, by=1: x * by, lambda x, *, by=2: x * by),
        (lambda x: (lambda y: y * 2)(x), lambda x: (lambda y: y * 3)(x)),
        (reader_of(2), reader_of(3)),
    ],
    ids=["default", "keyword default", "inner function", "reference of a config"],
)
def test_functions_that_compute_something_else_have_another_key(dataset, one, other):
    one.__qualname__ = other.__qualname__ = "same"
    keys = [CachedDataset([], [Lambdad("image", func)], None).transform_hash for func in (one, other, one)]
    assert keys[0] == keys[2] != keys[1]


def test_equal_parameters_of_another_object_share_the_key(dataset, write_case, calls):
    item = write_case()
    for _ in range(2):
        dataset(Scale(2.0, {"names": {"x", "y"}, "array": np.ones(3)}), item=item)[0]
    assert len(calls) == 1


def test_the_key_does_not_change_with_the_random_transforms_state(dataset, write_case, calls):
    item = write_case()
    for seed in range(2):
        data = dataset(Scale(2.0), item=item)
        data.transform.set_random_state(seed)
        data[0]
    assert len(calls) == 1


@pytest.mark.parametrize("damage", [b"", b"no tensor", "half"])
def test_a_damaged_file_is_computed_again_and_repaired(dataset, write_case, tmp_path, calls, damage):
    item = write_case()
    expected = dataset(Scale(2.0), item=item)[0]["image"].clone()
    [kept] = (tmp_path / "cache").iterdir()
    content = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    with pytest.warns(UserWarning, match="computed again"):
        assert torch.equal(dataset(Scale(2.0), item=item)[0]["image"], expected)
    dataset(Scale(2.0), item=item)[0]
    assert len(calls) == 2


def test_a_random_transform_does_not_change_what_is_kept(write_case, tmp_path):
    noise = RandGaussianNoised(keys="image", prob=1, std=5.0)
    load = LoadImaged(keys="image", image_only=True)
    item = write_case()
    CachedDataset([item], Compose([load, noise]), tmp_path / "cache")[0]
    kept = CachedDataset([item], Compose([load]), tmp_path / "cache")
    noisy = CachedDataset([item], Compose([load, noise]), tmp_path / "cache")
    noisy[0]
    plain = LoadImaged(keys="image", image_only=True)(item)["image"]
    assert torch.equal(kept[0]["image"], plain)


def test_two_workers_may_write_the_same_case(write_case, tmp_path):
    load = LoadImaged(keys="image", image_only=True)
    data = CachedDataset([write_case()] * 8, Compose([load]), tmp_path / "cache")
    assert len(list(DataLoader(data, batch_size=1, num_workers=2))) == 8
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".pt"]


def test_other_items_leave_what_is_kept_in_place(dataset, write_case, tmp_path):
    data = dataset(Scale(2.0), item=write_case())
    data[0]
    data.set_data([])
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_what_the_bundle_keeps_of_an_nrrd_is_read_back_whole(tmp_path):
    write_atria2018(str(tmp_path / "data"), cases=1)
    load = load_on_grid(("image", "label"), spacing=(5.0, 5.0, 5.0))
    data = CachedDataset(atria2018_datalist(tmp_path / "data"), load, tmp_path / "cache")
    computed = data[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = data[0]
    for key in ("image", "label"):
        assert torch.equal(kept[key], computed[key])
        assert torch.equal(kept[key].affine, computed[key].affine)
        assert len(kept[key].applied_operations) == len(computed[key].applied_operations) > 0


def test_a_full_disk_costs_no_case_and_is_said_once(tmp_path, write_case):
    """With torch's own words for a disk that is really full for files above 1 kB, in a process of its own."""
    cases = [write_case(name) for name in ("a", "b")]
    (tmp_path / "full.py").write_text(FULL)
    done = forks.run([tmp_path / "full.py", tmp_path / "cache", json.dumps(cases)], cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 cases"
    assert done.stderr.count("cannot be kept") == 1 and "Traceback" not in done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


FULL = """
import json, resource, sys
from common.datasets import CachedDataset
from common.transforms import load_on_grid
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
dataset = CachedDataset(json.loads(sys.argv[2]), load_on_grid(["image"]), sys.argv[1])
print(len([item["image"] for item in dataset]), "cases")
"""


def test_a_folder_that_cannot_be_made_keeps_nothing_and_costs_no_case(tmp_path, write_case):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be made"):
        dataset = CachedDataset([write_case("a")], load_on_grid(["image"]), tmp_path / "file/cache")
    assert len([item["image"] for item in dataset]) == 1
