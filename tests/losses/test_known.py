"""Voxels that nobody labeled count nowhere, whatever the network says of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.losses import DiceCELoss
from torch import Tensor

from common.classes import IGNORED, class_values
from common.losses import DiceFocalLoss, KnownVoxelsLoss

LOSSES: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {
    "dice_ce": lambda: KnownVoxelsLoss(DiceCELoss(to_onehot_y=True, softmax=True, batch=True), ignores=True),
    "dice_focal": lambda: DiceFocalLoss(ignores=True),
    "dice": lambda: DiceFocalLoss(None, ignores=True),
}


def a_case() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 1, 6, 5, 4))
    label[:, :, 3:] = IGNORED
    return torch.randn(2, 3, 6, 5, 4), label


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_with_unlabeled_voxels_is_worth_its_labeled_ones(name: str) -> None:
    logits, label = a_case()
    loss = LOSSES[name]()
    torch.testing.assert_close(loss(logits, label), loss(logits[:, :, :3], label[:, :, :3]))


@pytest.mark.parametrize("name", LOSSES)
def test_unlabeled_voxels_have_no_gradient_and_no_say(name: str) -> None:
    logits, label = a_case()
    logits.requires_grad_()
    LOSSES[name]()(logits, label).backward()
    assert not logits.grad[:, :, 3:].any() and logits.grad[:, :, :3].any() and torch.isfinite(logits.grad).all()
    other = torch.where(torch.arange(6)[:, None, None] < 3, logits.detach(), 50.0)
    torch.testing.assert_close(LOSSES[name]()(other, label), LOSSES[name]()(logits.detach(), label))


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_labeled_voxel_teaches_nothing(name: str) -> None:
    logits, label = a_case()
    logits.requires_grad_()
    LOSSES[name]()(logits, torch.full_like(label, IGNORED)).backward()
    assert not logits.grad.any()


def test_where_all_is_labeled_it_is_the_loss_itself() -> None:
    logits, label = a_case()
    plain = DiceCELoss(to_onehot_y=True, softmax=True)
    label = label.clamp(max=2)
    assert KnownVoxelsLoss(plain, ignores=False)(logits, label) == plain(logits, label)


def test_values_are_numbered_in_their_order_and_the_ignored_one_apart() -> None:
    assert class_values([0, 2, 1]) == {0: 0, 2: 1, 1: 2}
    assert class_values([0, 1], ignore=7) == {0: 0, 1: 1, 7: IGNORED}
