"""Label maps of classes: masks, patches around structures, and the way back to a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.classes import IGNORED
from common.transforms import (
    CoarseGridd,
    DiscreteMapsd,
    LabelBox,
    LabelsOnOriginalGridd,
    LargestComponentBox,
    RandStructureCropd,
    WithDistanceMapd,
)

REGIONS = [[1, 2, 3], [1, 3], [3]]


def line(*classes: int) -> torch.Tensor:
    return torch.tensor(classes).float().reshape(1, 1, 1, -1)


def test_the_largest_logit_of_classes_is_a_mask_without_the_background() -> None:
    logits = torch.tensor([[3.0, 0, 0, 9], [0, 2, 1, 0], [1, 1, 2, 0]]).reshape(3, 1, 1, 4)
    out = DiscreteMapsd(maps=[[1], [2]], output="softmax")({"pred": logits, "label": line(0, 1, 1, 2)})
    assert out["pred"].flatten(1).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert out["label"].flatten(1).tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]


def test_regions_are_masks_that_overlap_and_ignored_voxels_are_in_none() -> None:
    logits = torch.tensor([[1.0, 1, -1, 1], [1, -1, 1, 1], [-1, -1, -1, 1]]).reshape(3, 1, 1, 4)
    out = DiscreteMapsd(maps=REGIONS)({"pred": logits, "label": line(3, 2, 0, IGNORED)})
    assert out["pred"].flatten(1).tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert out["label"].flatten(1).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]


def test_distance_maps_behind_a_label_leave_the_masks_alone() -> None:
    label = torch.cat([line(1, 2), torch.randn(2, 1, 1, 2)])
    out = DiscreteMapsd(maps=[[1], [2]], output="softmax")({"pred": torch.zeros(3, 1, 1, 2), "label": label})
    assert out["label"].flatten(1).tolist() == [[1, 0], [0, 1]]


def test_every_structure_has_a_distance_map_of_its_own() -> None:
    out = WithDistanceMapd("label", unit="voxel", maps=[[1], [1, 2]])({"label": line(0, 1, 2, 0, 0)})["label"]
    assert out.flatten(1).tolist() == [[0, 1, 2, 0, 0], [1, 0, 1, 2, 3], [1, 0, 0, 1, 2]]


def test_the_coarse_label_is_the_union_of_all_structures_and_keeps_what_nobody_labeled() -> None:
    label = MetaTensor(line(1, 2, 0, 3, IGNORED, IGNORED, 0, 0), affine=torch.eye(4))
    coarse = CoarseGridd("label", spacing=(1, 1, 2), divisor=1)({"label": label})["label"]
    assert coarse.flatten().tolist() == [1, 1, IGNORED, 0]


def test_the_box_of_a_label_has_all_structures_and_nothing_that_nobody_labeled() -> None:
    box = LabelBox()(line(0, 2, 0, 1, 0, IGNORED))
    assert (box.start[2], box.stop[2]) == (1, 4)


@pytest.mark.parametrize(("least", "ends"), [(1.0, (4, 8)), (0.5, (1, 8)), (0.75, (4, 8))])
def test_a_locator_finds_all_large_parts_of_the_union(least: float, ends: tuple[int, int]) -> None:
    logits = torch.full((1, 1, 1, 12), -9.0)
    logits[..., 1:3], logits[..., 4:8], logits[..., 10] = 9.0, 9.0, 9.0
    box = LargestComponentBox(least=least)(logits, (1, 1, 12), (1.0, 1.0, 1.0))
    assert (box.start[2], box.stop[2]) == ends


def test_of_regions_that_are_probable_the_last_painted_counts() -> None:
    image = MetaTensor(torch.zeros(1, 1, 1, 5), affine=torch.eye(4))
    image.meta |= {"original_affine": np.eye(4), "spatial_shape": np.array([1, 1, 5])}
    whole, core, inner = [0.9, 0.9, 0.9, 0.2, 0.4], [0.1, 0.8, 0.9, 0.1, 0.4], [0.0, 0.2, 0.6, 0.1, 0.4]
    pred = torch.tensor([whole, core, inner]).reshape(3, 1, 1, 5)
    back = LabelsOnOriginalGridd("pred", painted=[(0, 2), (1, 1), (2, 3)])({"pred": pred, "image": image})
    assert back["pred"].flatten().tolist() == [2, 1, 3, 0, 0]


def crops(label: torch.Tensor, fraction: float, patch: tuple[int, ...], count: int = 300) -> list[torch.Tensor]:
    crop = RandStructureCropd("label", patch=patch, center_fraction=fraction)
    crop.set_random_state(0)
    return [crop({"label": label})["label"] for _ in range(count)]


def test_structures_are_equally_often_the_center_of_a_patch_whatever_their_size() -> None:
    label = torch.zeros(2, 9, 9, 41)  # a distance map behind the classes
    label[0, 2:7, 2:7, 4:14], label[0, 4, 4, 30], label[0, :, :, 20:24] = 1, 2, IGNORED
    centers = [int(patch[0, 1, 1, 1]) for patch in crops(label, 1.0, (3, 3, 3))]
    assert set(centers) == {1, 2} and 0.4 < centers.count(2) / len(centers) < 0.6


def test_other_patches_lie_anywhere_inside_the_volume() -> None:
    label = torch.zeros(1, 4, 4, 8)
    label[..., 5] = torch.arange(16).reshape(4, 4) + 1.0
    patches = crops(label, 0.0, (4, 4, 4))
    assert {tuple(patch.shape) for patch in patches} == {(1, 4, 4, 4)}
    assert {int((patch != 0).any()) for patch in patches} == {0, 1}


def test_a_volume_of_the_patchs_size_is_the_patch() -> None:
    label = torch.randint(0, 3, (1, 4, 5, 6)).float()
    assert all(torch.equal(patch, label) for patch in crops(label, 0.8, (4, 5, 6), 20))
