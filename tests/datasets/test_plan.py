"""The crop and the intensities of a cohort against NumPy and numbers worked out by hand."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Lambdad
from torch import nn

from common.datasets import locator_is_needed, plan_crop, read_plan
from common.networks import InstanceNorm, VNet
from common.transforms import Box

SHAPE = (40, 48, 56)
STRUCTURES = [Box((4, 6, 8), (14, 26, 20)), Box((20, 10, 30), (28, 24, 50))]  # extents 10 x 20 x 12 and 8 x 14 x 20


class Cohort:
    """Volumes of noise with a cuboid each; the labels are files, the images are not. Counts how often one is loaded."""

    def __init__(self, folder: Path, structures: list[Box]) -> None:
        self.loaded = 0
        self.structures = structures
        self.images = np.random.default_rng(0).normal(100, 30, (len(structures), *SHAPE))
        self.cases = []
        for i in range(len(structures)):
            image, label = folder / f"{i}_image.nii", folder / f"{i}_label.nii"
            image.write_bytes(b"stands for a volume")
            nibabel.save(nibabel.Nifti1Image(self.label(i).numpy()[0], np.eye(4)), label)
            self.cases.append({"case": f"case{i}", "image": str(image), "label": str(label)})

    def label(self, i: int) -> torch.Tensor:
        mask = torch.zeros(1, *SHAPE)
        mask[(0, *self.structures[i].slices)] = 1
        return mask

    def load(self, item: dict[str, str]) -> dict[str, torch.Tensor]:
        self.loaded += 1
        i = int(Path(item["image"]).name.split("_")[0])
        return {"image": torch.from_numpy(self.images[i : i + 1]).float(), "label": self.label(i)}

    def locator(self) -> Callable[[torch.Tensor], Box | None]:
        """Finds the first case's structure, one voxel too large on every side, and nothing in the second."""
        first = self.structures[0]
        found = Box(tuple(a - 1 for a in first.start), tuple(b + 1 for b in first.stop))
        return lambda image: found if torch.equal(image[0], torch.from_numpy(self.images[0]).float()) else None


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path, STRUCTURES)


def load(item: dict[str, str]) -> dict[str, torch.Tensor]:
    return Cohort.current.load(item)


def locator() -> Callable[[torch.Tensor], Box | None]:
    return Cohort.current.locator()


@pytest.fixture
def plan(tmp_path: Path, cohort: Cohort) -> Callable[..., dict[str, Any]]:
    Cohort.current = cohort  # the functions that fitting calls have no state of their own

    def run(**options: Any) -> dict[str, Any]:
        options = {"crop": "label", "buffer": (6, 6, 6), "locate": locator, "preprocessing": [load]} | options
        return plan_crop(tmp_path / "models/plan.json", cohort.cases, **options)

    return run


def test_crop_of_the_labels_is_their_largest_extent_with_the_buffer_as_a_multiple_of_16(plan):
    assert plan()["crop_size"] == [16, 32, 32]  # 10, 20, 20, each plus 6


def test_crop_of_the_locator_is_that_of_the_boxes_it_finds_or_the_whole_volume(plan):
    assert plan(crop="locator")["crop_size"] == [
        48,
        64,
        64,
    ]  # 40, 48, 56, each plus 6: nothing found in the second case


def test_whole_volumes_have_no_crop_and_need_no_locator(plan):
    assert plan(crop="none", locate=pytest.fail)["crop_size"] is None


def test_auto_locates_where_the_structure_fills_little_of_the_volume(plan):
    result = plan(crop="auto")
    assert result["crop"] == "locator"
    fractions = [10 * 20 * 12 / (40 * 48 * 56), 8 * 14 * 20 / (40 * 48 * 56)]
    assert result["box_fraction"] == pytest.approx(np.median(fractions), abs=1e-4)


def test_auto_takes_whole_volumes_that_are_already_cut_to_the_structure(tmp_path):
    cohort = Cohort(tmp_path, [Box((0, 0, 0), (40, 48, 14)), Box((0, 0, 0), (40, 24, 28))])  # a quarter each
    result = plan_crop(tmp_path / "plan.json", cohort.cases, [cohort.load], locate=pytest.fail)
    assert (result["crop"], result["crop_size"]) == ("none", None)


def test_mean_and_deviation_are_numpys_over_all_crops_together(plan, cohort):
    # crops of 16 x 32 x 32 about the centers (9, 16, 14) and (24, 17, 40), shifted back inside the volume
    first, second = cohort.images[0][1:17, 0:32, 0:32], cohort.images[1][16:32, 1:33, 24:56]
    voxels = np.concatenate([first.ravel(), second.ravel()])
    result = plan(intensity="cohort")
    assert (result["mean"], result["std"]) == pytest.approx((voxels.mean(), voxels.std()), rel=1e-6)


def test_mean_and_deviation_of_whole_volumes_are_numpys(plan, cohort):
    result = plan(crop="none", intensity="cohort")
    assert (result["mean"], result["std"]) == pytest.approx((cohort.images.mean(), cohort.images.std()), rel=1e-6)


def test_deviation_of_constant_volumes_can_be_divided_by(plan, cohort):
    cohort.images[:] = 7
    result = plan(intensity="cohort")
    assert (result["mean"], result["std"]) == (7.0, 1e-6)


def test_nothing_is_read_for_numbers_that_nothing_uses(plan, cohort):
    result = plan(crop="none")
    assert cohort.loaded == 0
    assert not {"mean", "std", "box_fraction"} & result.keys()


def test_file_is_readable_and_is_what_inference_reads(plan, tmp_path):
    file = tmp_path / "models/plan.json"
    result = plan(settings={"spacing": [1.25, 1.25, 1.25], "fold": 2}, intensity="cohort", demonstration_only=True)
    assert json.loads(file.read_text()) == result == read_plan(file)
    assert (result["spacing"], result["fold"], result["intensity"], result["cases"]) == (
        [1.25, 1.25, 1.25],
        2,
        "cohort",
        ["case0", "case1"],
    )
    assert result["demonstration_only"] is True
    assert [path.name for path in file.parent.iterdir()] == ["plan.json"]


def test_second_plan_of_the_same_loads_nothing(plan, cohort):
    first = plan()
    loaded = cohort.loaded
    assert plan() == first
    assert cohort.loaded == loaded


@pytest.mark.parametrize(
    "other",
    [
        {"crop": "none"},
        {"buffer": (7, 6, 6)},
        {"settings": {"spacing": [1, 1, 1]}},
        {"intensity": "case"},
        {"demonstration_only": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_are_planned_anew(plan, cohort, other):
    plan(intensity="cohort")
    loaded = cohort.loaded
    plan(**{"intensity": "cohort"} | other)
    assert cohort.loaded > loaded


@pytest.mark.parametrize("key", ["image", "label"])
def test_other_contents_under_the_same_names_are_planned_anew(plan, cohort, key):
    before = plan()
    cohort.structures = [Box((0, 0, 0), (20, 20, 20)), Box((0, 0, 0), (27, 20, 20))]
    os.utime(cohort.cases[1][key], ns=(1, 1))
    assert before["crop_size"] == [16, 32, 32]
    assert plan()["crop_size"] == [48, 32, 32]


def test_fewer_cases_are_planned_anew(plan, cohort):
    plan()
    cohort.cases.pop()
    assert plan()["cases"] == ["case0"]


def test_other_weights_of_the_locator_are_planned_anew(plan, cohort, tmp_path):
    weights = tmp_path / "locator.pt"
    weights.write_bytes(b"first")
    plan(crop="locator", locator_weights=weights)
    loaded = cohort.loaded
    weights.write_bytes(b"other")
    plan(crop="locator", locator_weights=weights)
    assert cohort.loaded > loaded


def test_plan_that_fails_leaves_the_earlier_one(plan, tmp_path):
    earlier = plan()

    def broken():
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        plan(crop="locator", locate=broken)
    assert read_plan(tmp_path / "models/plan.json") == earlier


def test_missing_plan_names_the_file_and_where_it_belongs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"plan\.json.*beside the weights"):
        read_plan(tmp_path / "plan.json")


def test_weights_are_for_a_network_however_its_layers_are_computed(plan, tmp_path):
    plan(network=nn.Sequential(nn.Conv3d(1, 3, 1), nn.InstanceNorm3d(3)))
    quick = nn.Sequential(nn.Conv3d(1, 3, 1), InstanceNorm(3))
    assert read_plan(tmp_path / "models/plan.json", network=quick)["cases"] == ["case0", "case1"]


def test_inference_with_a_network_built_otherwise_than_the_trained_one_is_refused(plan, tmp_path):
    trained, dilated, normalized = VNet(), VNet(conv_dilation=2), VNet(norm="instance")
    plan(network=trained)
    assert read_plan(tmp_path / "models/plan.json", network=VNet())["cases"] == ["case0", "case1"]
    for other in (dilated, normalized):
        with pytest.raises(ValueError, match="configured otherwise"):
            read_plan(tmp_path / "models/plan.json", network=other)


@pytest.mark.parametrize("option", [{"crop": "box"}, {"intensity": "volume"}])
def test_unknown_choices_are_refused(plan, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        plan(**option)


@pytest.mark.parametrize("crop", ["label", "none"])
def test_locator_is_not_trained_where_the_crop_does_not_use_it(cohort, crop, caplog):
    caplog.set_level("INFO")
    assert locator_is_needed(crop, cohort.cases) is False
    assert f"no locator is needed: crop is {crop}" in caplog.text


@pytest.mark.parametrize("crop", ["auto", "locator"])
def test_locator_is_trained_for_small_structures(cohort, crop):
    assert locator_is_needed(crop, cohort.cases) is True


def boxes_of(size):
    return lambda: lambda volume: Box((5, 5, 5), (5 + size,) * 3)


def test_another_rule_for_the_locators_box_makes_another_crop(plan):
    crops = [plan(crop="locator", locate=boxes_of(n), buffer=(0, 0, 0))["crop_size"] for n in (10, 30, 10)]
    assert crops == [[16] * 3, [32] * 3, [16] * 3]


def located(network: nn.Module, *, margin: int, weights: str = "", device: str = "cpu") -> Callable:
    """A locator's maker as a config makes it."""
    return lambda volume: Box((5, 5, 5), (5 + margin,) * 3)


def test_a_locator_of_a_config_is_told_apart_by_its_settings_not_by_its_device_or_first_weights(plan, cohort):
    def make(**settings):
        return partial(located, network=nn.Conv3d(1, 1, 1), **{"margin": 10, "weights": "a/locator.pt"} | settings)

    plan(crop="locator", locate=make())
    loaded = cohort.loaded
    plan(crop="locator", locate=make(weights="b/locator.pt", device="cuda"))
    assert cohort.loaded == loaded
    plan(crop="locator", locate=make(margin=30))
    assert cohort.loaded > loaded


def test_other_preprocessing_is_planned_anew(plan, cohort):
    plan()
    loaded = cohort.loaded
    plan(preprocessing=[load, Lambdad("image", lambda image: image * 2)])
    assert cohort.loaded > loaded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged or no JSON"),
        ("<html>", "is a web page, expected JSON"),
        ("[1]", "holds a list, expected a JSON object"),
        (('"demonstration_only": false', '"demonstration_only": "no"'), "demonstration_only must be true or false"),
        (('"cases": [', '"cases": null, "others": ['), "cases must be a list of names, got None"),
        ('{"spacing": [1, 1, 1]}', "network is missing; cases is missing"),
        (('"std"', '"spacing": [1, 0, 1], "std"'), "spacing must be three voxel sides above 0"),
        (('"std"', '"roi_size": [16, -4, 16], "std"'), "roi_size must be three whole numbers"),
        (('"crop_size": [', '"crop_size": [-'), "crop_size must be three whole numbers of at least 1"),
        (('"std": ', '"std": -'), "std must be a number above 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_file_its_value_and_a_remedy(plan, tmp_path, text, said):
    plan(intensity="cohort")
    file = tmp_path / "models/plan.json"
    file.write_text(text if isinstance(text, str) else file.read_text().replace(*text))
    with pytest.raises(ValueError, match=said) as error:
        read_plan(file)
    assert str(error.value).startswith(str(file))
    assert "copy the file that was written with the weights" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_that_a_plan_lacks_is_named_with_the_file_where_it_is_asked_for(plan, tmp_path):
    plan()
    file = tmp_path / "models/plan.json"
    stored = read_plan(file)
    assert "spacing" not in stored and stored.get("spacing") is None
    with pytest.raises(ValueError, match=rf"^{file}: spacing is missing; copy the file"):
        stored["spacing"]
    assert pickle.loads(pickle.dumps(stored)) == stored  # for other processes


def test_training_writes_a_damaged_plan_anew(plan, tmp_path):
    first = plan()
    (tmp_path / "models/plan.json").write_text("{")
    assert plan() == first
