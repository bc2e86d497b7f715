"""Class weights against scikit-learn's rule and the numbers that Vox2Vox's authors published."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.datasets import balanced_class_weights, plan_recipe, read_plan

LOADED = []


def load(item: dict[str, str]) -> dict[str, Any]:
    """A label of the numbers of voxels per class that its file names."""
    LOADED.append(item["case"])
    counts = [int(n) for n in Path(item["label"]).read_text().split()]
    return {
        **item,
        "label": torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).float()[None, None, None],
    }


@pytest.fixture
def cases(tmp_path: Path) -> Callable[..., list[dict[str, str]]]:
    """Makes cases of files that name their numbers of voxels per class."""

    def make(*counts: str) -> list[dict[str, str]]:
        made = [{"case": f"case{i}", "label": str(tmp_path / f"case{i}.txt")} for i in range(len(counts))]
        for case, numbers in zip(made, counts, strict=True):
            Path(case["label"]).write_text(numbers)
        return made

    return make


def weights(cases: list[dict[str, str]], classes: int) -> list[float]:
    return balanced_class_weights(cases, classes=classes, transform=[load])["class_weights"]


def test_weight_is_all_voxels_over_those_of_the_class_times_the_number_of_classes(cases):
    # 20 voxels: 12, 6 and 2 of the classes
    assert weights(cases("7 2 1", "5 4 1"), 3) == pytest.approx([20 / (3 * 12), 20 / (3 * 6), 20 / (3 * 2)])


def test_shares_of_the_published_weights_give_the_published_weights(cases):
    published = [0.25659472, 45.465614, 16.543337, 49.11155]
    planned = weights(cases(" ".join(str(round(1e6 / (4 * w))) for w in published)), 4)
    assert planned == pytest.approx(published, rel=1e-3)
    assert sum(1 / (4 * w) for w in planned) == pytest.approx(1)


def test_a_class_that_no_training_label_has_is_an_error(cases):
    with pytest.raises(ValueError, match="no voxel of class 2 in the labels of the 2 training cases"):
        weights(cases("3 1", "4 2"), 3)


def test_a_value_that_is_no_class_names_the_case(cases):
    with pytest.raises(ValueError, match=r"case1: the label holds \[0\.0, 1\.0, 2\.0\] after.*expected 0 to 1"):
        weights(cases("3 1", "4 2 1"), 2)


def plan(folder: Path, cases: list[dict[str, str]]) -> dict[str, Any]:
    from_labels = functools.partial(balanced_class_weights, classes=2, transform=[load])
    return plan_recipe(
        folder / "plan.json", cases, network=nn.Identity(), settings={"spacing": [1, 1, 1]}, from_labels=from_labels
    )


def test_weights_are_planned_once_and_stored_beside_the_settings(tmp_path, cases):
    made = cases("3 1", "4 2")
    LOADED.clear()
    for _ in range(2):
        plan(tmp_path, made)
    stored = read_plan(tmp_path / "plan.json")
    assert stored["class_weights"] == pytest.approx([10 / 14, 10 / 6]) and stored["spacing"] == [1, 1, 1]
    assert LOADED == ["case0", "case1"]


def test_weights_are_planned_anew_to_other_cases(tmp_path, cases):
    made = cases("3 1", "4 2")
    plan(tmp_path, made)
    assert plan(tmp_path, made[:1])["class_weights"] == pytest.approx([4 / 6, 4 / 2])


def test_weights_are_planned_anew_when_a_label_file_changes(tmp_path, cases):
    plan(tmp_path, cases("3 1", "4 2"))
    assert plan(tmp_path, cases("11 3", "4 2"))["class_weights"] == pytest.approx([20 / 30, 20 / 10])
