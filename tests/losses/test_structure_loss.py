"""Losses of several structures: of classes and of regions, with voxels that nobody labeled."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from torch import Tensor, nn

from common.classes import IGNORED
from common.losses import BoundaryLoss, HybridLoss, StructureLoss

SHAPE = (6, 5, 4)
REGIONS = [[1, 2, 3], [1, 3], [3]]


def a_case(maps: int, classes: int = 3, *, ignored: float = 0.0, distances: bool = False) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    label = torch.randint(0, classes + 1, (2, 1, *SHAPE)).float()
    label[torch.rand(label.shape) < ignored] = IGNORED
    behind = [torch.randn(2, classes, *SHAPE)] if distances else []
    return torch.randn(2, maps, *SHAPE, requires_grad=True), torch.cat([label, *behind], dim=1)


def one_hot(label: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(label[:, 0].long(), classes + 1).movedim(-1, 1).float()


LOSSES = {
    "dice_ce": lambda soft: DiceCELoss(sigmoid=not soft, softmax=soft, batch=True),
    "dice": lambda soft: DiceLoss(sigmoid=not soft, softmax=soft, batch=True),
    "focal": lambda soft: FocalLoss(gamma=2.0, alpha=0.25, use_softmax=soft),
}


@pytest.mark.parametrize("name", LOSSES)
def test_with_one_structure_it_is_the_loss_itself(name: str) -> None:
    logits, label = a_case(1, classes=1)
    torch.testing.assert_close(StructureLoss(LOSSES[name](False))(logits, label), LOSSES[name](False)(logits, label))


@pytest.mark.parametrize("name", LOSSES)
def test_of_classes_it_is_the_loss_of_all_masks_background_first(name: str) -> None:
    logits, label = a_case(4)
    loss = StructureLoss(LOSSES[name](True), maps=[[1], [2], [3]], output="softmax")
    torch.testing.assert_close(loss(logits, label), LOSSES[name](True)(logits, one_hot(label, 3)))


@pytest.mark.parametrize("name", LOSSES)
def test_of_regions_it_is_the_mean_of_the_losses_of_each(name: str) -> None:
    logits, label = a_case(3)
    masks = [sum((label == c).float() for c in classes) for classes in REGIONS]
    each = [LOSSES[name](False)(logits[:, n : n + 1], mask) for n, mask in enumerate(masks)]
    torch.testing.assert_close(StructureLoss(LOSSES[name](False), maps=REGIONS)(logits, label), sum(each) / 3)


@pytest.mark.parametrize("name", [*LOSSES, "hybrid"])
@pytest.mark.parametrize("softmax", [False, True], ids=["regions", "classes"])
def test_what_the_network_says_of_ignored_voxels_changes_neither_loss_nor_gradient(name: str, softmax: bool) -> None:
    inner = HybridLoss(alpha=0.5, softmax=softmax) if name == "hybrid" else LOSSES[name](softmax)
    maps = [[1], [2], [3]] if softmax else REGIONS
    loss = StructureLoss(inner, maps=maps, output="softmax" if softmax else "sigmoid", ignores=True)
    logits, target = a_case(3 + softmax, ignored=0.3, distances=name == "hybrid")
    ignored = (target[:, :1] == IGNORED).expand_as(logits)
    value = loss(logits, target)
    value.backward()
    assert not logits.grad[ignored].any() and logits.grad[~ignored].any()
    torch.testing.assert_close(loss(torch.where(ignored, 50.0, logits), target), value)


def test_a_batch_that_nobody_labeled_costs_nothing() -> None:
    logits, label = a_case(3, ignored=1.1)
    value = StructureLoss(LOSSES["dice_ce"](False), maps=REGIONS, ignores=True)(logits, label)
    value.backward()
    assert value == 0 and not logits.grad.any()


def test_boundary_of_classes_is_their_probability_times_their_own_map() -> None:
    logits, target = a_case(4, distances=True)
    loss = StructureLoss(HybridLoss(alpha=0.0, softmax=True), maps=[[1], [2], [3]], output="softmax")
    expected = (logits.softmax(1)[:, 1:] * target[:, 1:]).mean()
    torch.testing.assert_close(loss(logits, target), expected)
    torch.testing.assert_close(BoundaryLoss(softmax=True)(logits, target[:, 1:]), expected)


def test_boundary_of_regions_is_their_probability_times_their_own_map() -> None:
    logits, target = a_case(3, distances=True)
    expected = (logits.sigmoid() * target[:, 1:]).mean()
    torch.testing.assert_close(StructureLoss(HybridLoss(alpha=0.0), maps=REGIONS)(logits, target), expected)


@pytest.mark.parametrize(("maps", "channels"), [(2, 1), (4, 1), (3, 3)])
def test_other_numbers_of_channels_are_refused(maps: int, channels: int) -> None:
    with pytest.raises(ValueError, match="StructureLoss of 3 structures"):
        StructureLoss(nn.Identity(), maps=REGIONS)(torch.zeros(1, maps, *SHAPE), torch.zeros(1, channels, *SHAPE))
