"""Patches whose center has the class asked for, on maps where that is easy and where it is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd
from scipy.stats import chisquare

from common.transforms import LabelProbabilityCropd

LIVER = {"0": 0.2, "1": 0.3, "2": 0.5}
RIM = (slice(0, 1), slice(None, 7), slice(None), slice(None))  # no center of a patch of 16 lies here


def label_map(*, tumor: str) -> torch.Tensor:
    """(1, 40, 36, 32): a box of liver, with tumor inside it, in the rim alone, or nowhere."""
    label = torch.zeros(1, 40, 36, 32, dtype=torch.uint8)
    label[0, 4:30, 6:30, 8:26] = 1
    if tumor == "inside":
        label[0, 14:17, 12:15, 14:17] = 2
    if tumor == "rim":
        label[RIM][label[RIM] == 1] = 2
    return label


def crop(spatial_size=16, probabilities=LIVER, num_samples=1, keys=("image", "label")) -> LabelProbabilityCropd:
    transform = LabelProbabilityCropd(
        keys, "label", spatial_size=spatial_size, probabilities=probabilities, num_samples=num_samples
    )
    return transform.set_random_state(0)


def centers(label: torch.Tensor, size: tuple[int, int, int], draws: int = 20_000, probabilities=LIVER) -> np.ndarray:
    """(draws, 3) center voxels by the definition: start + size // 2."""
    transform = crop(size, probabilities, draws)
    transform.randomize(label)
    return np.array(transform.starts) + np.array(size) // 2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    ("tumor", "expected"),
    [("inside", (0.2, 0.3, 0.5)), ("nowhere", (0.4, 0.6, 0.0)), ("rim", (0.4, 0.6, 0.0))],
)
def test_the_center_has_the_probabilities_asked_for(tumor, expected, dtype):
    label = label_map(tumor=tumor)
    drawn = label[0].numpy()[tuple(centers(label.to(dtype), (16, 16, 16)).T)]
    frequencies = np.bincount(drawn, minlength=3) / len(drawn)
    assert frequencies == pytest.approx(expected, abs=0.01)


def test_every_admissible_voxel_has_the_weight_of_the_definition():
    label = torch.from_numpy(np.random.default_rng(1).integers(0, 4, (1, 10, 9, 8)))
    size = (4, 5, 3)
    admissible = itertools.product(range(2, 9), range(2, 7), range(1, 7))  # floor(p / 2) ... n - 1 - floor((p - 1) / 2)
    voxels = [v for v in admissible if label[(0, *v)] != 3]  # 3 is not asked for
    classes = [int(label[(0, *v)]) for v in voxels]
    drawn = [tuple(c) for c in centers(label, size, draws=30_000)]
    observed = [drawn.count(v) for v in voxels]
    expected = [30_000 * (0.2, 0.3, 0.5)[c] / classes.count(c) for c in classes]
    assert sum(observed) == 30_000
    assert chisquare(observed, expected).pvalue > 0.01


@pytest.mark.parametrize(
    ("frame", "size", "first", "last"),
    [(256, 96, 48, 208), (200, 96, 48, 152), (12, 4, 2, 10), (12, 5, 2, 9), (7, 7, 3, 3), (8, 8, 4, 4), (5, 1, 0, 4)],
)
def test_centers_range_over_every_position_whose_patch_lies_inside(frame, size, first, last):
    drawn = centers(torch.ones(1, frame, 1, 1), (size, 1, 1), draws=5000)[:, 0]
    assert set(drawn) == set(range(first, last + 1))


def test_probabilities_are_relative():
    label = label_map(tumor="inside")
    equal = centers(label, (16, 16, 16), 100, {0: 0.2, 1: 0.3, 2: 0.5}) == centers(
        label, (16, 16, 16), 100, {0: 2, 1: 3, 2: 5}
    )
    assert equal.all()


@pytest.fixture
def case() -> dict:
    """An image whose voxels are numbered, and its label, on an oblique grid."""
    affine = np.array([[0.0, 2.0, 0.0, 5.0], [-1.5, 0.0, 0.0, 7.0], [0.0, 0.0, 3.0, -9.0], [0.0, 0.0, 0.0, 1.0]])
    label = MetaTensor(label_map(tumor="inside"), affine=affine, meta={"filename_or_obj": "liver_3.nii.gz"})
    image = MetaTensor(torch.arange(label.numel(), dtype=torch.float32).reshape(label.shape), affine=affine)
    return {"image": image, "label": label, "case": "liver_3", "notes": ["kept"]}


def test_each_patch_is_a_piece_of_image_and_label_at_one_place(case):
    patches = crop((6, 7, 8), num_samples=4)(case)
    assert len(patches) == 4
    for patch in patches:
        x, y, z = np.unravel_index(int(patch["image"][0, 0, 0, 0]), case["image"].shape[1:])
        place = (slice(None), slice(x, x + 6), slice(y, y + 7), slice(z, z + 8))
        assert torch.equal(patch["image"], case["image"][place])
        assert torch.equal(patch["label"], case["label"][place])


def test_the_affine_of_a_patch_leads_to_its_place_in_the_patient(case):
    for patch in crop(num_samples=4)(case):
        start = np.unravel_index(int(patch["image"][0, 0, 0, 0]), case["image"].shape[1:])
        position = case["image"].affine @ torch.tensor([*start, 1.0], dtype=torch.float64)
        torch.testing.assert_close(patch["image"].affine[:, 3], position)
        torch.testing.assert_close(patch["label"].affine[:, 3], position)


def test_patches_do_not_keep_the_volume_in_memory(case):
    (patch,) = crop(4)(case)
    assert patch["image"].untyped_storage().nbytes() == 4**3 * 4


def test_other_items_come_along_and_are_not_shared(case):
    one, two = crop(num_samples=2)(case)
    one["notes"].append("changed")
    assert two["notes"] == case["notes"] == ["kept"] and two["case"] == "liver_3"


def test_the_same_random_state_draws_the_same_patches(case):
    one, two = crop(num_samples=3)(case), crop(num_samples=3)(case)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(one, two, strict=True))


def test_transforms_that_follow_see_each_patch(case):
    patches = Compose([crop(num_samples=3), Flipd("image", 0)])(case)
    assert [patch["image"].shape for patch in patches] == [(1, 16, 16, 16)] * 3


def test_refuses_a_patch_longer_than_the_volume_and_names_the_file(case):
    with pytest.raises(ValueError, match=r"liver_3\.nii\.gz: patches of \(16, 37, 16\).*\(40, 36, 32\); pad"):
        crop((16, 37, 16))(case)


def test_refuses_a_map_without_any_wanted_class_in_reach(case):
    case["label"][:] = 0
    with pytest.raises(ValueError, match=r"liver_3\.nii\.gz: no voxel of the classes \[1, 2\] can be the center"):
        crop(probabilities={1: 0.5, 2: 0.5})(case)


def test_refuses_a_one_hot_label(case):
    case["label"] = case["label"].repeat(3, 1, 1, 1)
    with pytest.raises(ValueError, match="the label has 3 channels, expected one"):
        crop()(case)


@pytest.mark.parametrize("probabilities", [{}, {0: 0.0}, {0: -0.1, 1: 1.1}, {0: float("nan")}], ids=str)
def test_refuses_probabilities_that_are_none(probabilities):
    with pytest.raises(ValueError, match="must be >= 0 and not all 0"):
        crop(probabilities=probabilities)
