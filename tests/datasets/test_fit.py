"""The window and the intensities of a cohort against NumPy and numbers worked out by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from common.datasets import fit_window, read_fit, stop_unless_locating
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


@pytest.fixture
def fit(tmp_path: Path, cohort: Cohort) -> Callable[..., dict[str, Any]]:
    def run(**options: Any) -> dict[str, Any]:
        options = {"crop": "label", "buffer": (6, 6, 6), "locate": cohort.locator} | options
        return fit_window(tmp_path / "models/fit.json", cohort.cases, [cohort.load], **options)

    return run


def test_window_of_the_labels_is_their_largest_extent_with_the_buffer_as_a_multiple_of_16(fit):
    assert fit()["window"] == [16, 32, 32]  # 10, 20, 20, each plus 6


def test_window_of_the_locator_is_that_of_the_boxes_it_finds_or_the_whole_volume(fit):
    assert fit(crop="locator")["window"] == [48, 64, 64]  # 40, 48, 56, each plus 6: nothing found in the second case


def test_whole_volumes_have_no_window_and_need_no_locator(fit):
    assert fit(crop="none", locate=pytest.fail)["window"] is None


def test_auto_locates_where_the_structure_fills_little_of_the_volume(fit):
    result = fit(crop="auto")
    assert result["crop"] == "locator"
    shares = [10 * 20 * 12 / (40 * 48 * 56), 8 * 14 * 20 / (40 * 48 * 56)]
    assert result["share"] == pytest.approx(np.median(shares), abs=1e-4)


def test_auto_takes_whole_volumes_that_are_already_cut_to_the_structure(tmp_path):
    cohort = Cohort(tmp_path, [Box((0, 0, 0), (40, 48, 14)), Box((0, 0, 0), (40, 24, 28))])  # a quarter each
    result = fit_window(tmp_path / "fit.json", cohort.cases, [cohort.load], locate=pytest.fail)
    assert (result["crop"], result["window"]) == ("none", None)


def test_mean_and_deviation_are_numpys_over_all_crops_together(fit, cohort):
    # windows of 16 x 32 x 32 about the centres (9, 16, 14) and (24, 17, 40), shifted back inside the volume
    first, second = cohort.images[0][1:17, 0:32, 0:32], cohort.images[1][16:32, 1:33, 24:56]
    voxels = np.concatenate([first.ravel(), second.ravel()])
    result = fit()
    assert (result["mean"], result["std"]) == pytest.approx((voxels.mean(), voxels.std()), rel=1e-6)


def test_mean_and_deviation_of_whole_volumes_are_numpys(fit, cohort):
    result = fit(crop="none")
    assert (result["mean"], result["std"]) == pytest.approx((cohort.images.mean(), cohort.images.std()), rel=1e-6)


def test_deviation_of_constant_volumes_can_be_divided_by(fit, cohort):
    cohort.images[:] = 7
    assert (fit()["mean"], fit()["std"]) == (7.0, 1e-6)


def test_file_is_readable_and_is_what_inference_reads(fit, tmp_path):
    file = tmp_path / "models/fit.json"
    result = fit(settings={"spacing": [1.25, 1.25, 1.25], "fold": 2}, intensity="cohort", demonstration_only=True)
    assert json.loads(file.read_text()) == result == read_fit(file)
    assert (result["spacing"], result["fold"], result["intensity"], result["cases"]) == (
        [1.25, 1.25, 1.25],
        2,
        "cohort",
        ["case0", "case1"],
    )
    assert result["demonstration_only"] is True
    assert [path.name for path in file.parent.iterdir()] == ["fit.json"]


def test_second_fit_of_the_same_loads_nothing(fit, cohort):
    first = fit()
    loaded = cohort.loaded
    assert fit() == first
    assert cohort.loaded == loaded


@pytest.mark.parametrize(
    "other",
    [
        {"crop": "none"},
        {"buffer": (7, 6, 6)},
        {"settings": {"spacing": [1, 1, 1]}},
        {"intensity": "cohort"},
        {"demonstration_only": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_are_fitted_anew(fit, cohort, other):
    fit()
    loaded = cohort.loaded
    fit(**other)
    assert cohort.loaded > loaded


@pytest.mark.parametrize("key", ["image", "label"])
def test_other_contents_under_the_same_names_are_fitted_anew(fit, cohort, key):
    before = fit()
    cohort.structures = [Box((0, 0, 0), (20, 20, 20)), Box((0, 0, 0), (27, 20, 20))]
    os.utime(cohort.cases[1][key], ns=(1, 1))
    assert before["window"] == [16, 32, 32]
    assert fit()["window"] == [48, 32, 32]


def test_fewer_cases_are_fitted_anew(fit, cohort):
    fit()
    cohort.cases.pop()
    assert fit()["cases"] == ["case0"]


def test_other_weights_of_the_locator_are_fitted_anew(fit, cohort, tmp_path):
    weights = tmp_path / "locator.pt"
    weights.write_bytes(b"first")
    fit(crop="locator", locator_weights=weights)
    loaded = cohort.loaded
    weights.write_bytes(b"other")
    fit(crop="locator", locator_weights=weights)
    assert cohort.loaded > loaded


def test_fit_that_fails_leaves_the_earlier_one(fit, tmp_path):
    earlier = fit()

    def broken():
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        fit(crop="locator", locate=broken)
    assert read_fit(tmp_path / "models/fit.json") == earlier


def test_missing_fit_names_the_file_and_where_it_belongs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"fit\.json.*beside the weights"):
        read_fit(tmp_path / "fit.json")


def test_weights_are_for_a_network_however_its_layers_are_computed(fit, tmp_path):
    fit(network=nn.Sequential(nn.Conv3d(1, 3, 1), nn.InstanceNorm3d(3)))
    quick = nn.Sequential(nn.Conv3d(1, 3, 1), InstanceNorm(3))
    assert read_fit(tmp_path / "models/fit.json", network=quick)["cases"] == ["case0", "case1"]


def test_inference_with_a_network_built_otherwise_than_the_trained_one_is_refused(fit, tmp_path):
    trained, dilated, normalised = VNet(), VNet(conv_dilation=2), VNet(norm="instance")
    fit(network=trained)
    assert read_fit(tmp_path / "models/fit.json", network=VNet())["cases"] == ["case0", "case1"]
    for other in (dilated, normalised):
        with pytest.raises(ValueError, match="configured otherwise"):
            read_fit(tmp_path / "models/fit.json", network=other)


@pytest.mark.parametrize("option", [{"crop": "box"}, {"intensity": "volume"}])
def test_unknown_choices_are_refused(fit, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        fit(**option)


@pytest.mark.parametrize("crop", ["label", "none"])
def test_locator_is_not_trained_where_the_crop_does_not_use_it(cohort, crop):
    with pytest.raises(SystemExit) as stop:
        stop_unless_locating(crop, cohort.cases)
    assert stop.value.code == 0


@pytest.mark.parametrize("crop", ["auto", "locator"])
def test_locator_is_trained_for_small_structures(cohort, crop):
    stop_unless_locating(crop, cohort.cases)
