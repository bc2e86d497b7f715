"""DiceFocalLoss against sums worked by hand, and MONAI's losses where they coincide."""

from __future__ import annotations

import math

import monai.losses
import pytest
import torch
from torch import Tensor

from common.losses import DiceFocalLoss

SURE = 30.0  # a logit of which the sigmoid is 1 in float32


def labels_and_channels(organs: int = 4) -> tuple[Tensor, Tensor]:
    """A label map (2, 1, 6, 7, 8) with every organ in every sample, and the same as channels."""
    label = torch.randint(0, organs + 1, (2, 1, 6, 7, 8), dtype=torch.uint8)
    return label, torch.cat([(label == organ).float() for organ in range(1, organs + 1)], dim=1)


def test_perfect_prediction_costs_nothing():
    label, channels = labels_and_channels()
    assert float(DiceFocalLoss()(SURE * (2 * channels - 1), label)) == pytest.approx(0, abs=1e-6)


def test_dice_of_one_voxel_is_the_quotient_of_the_specification():
    # One voxel, p = 0.5, g = 1: (2 * 0.5) / (0.25 + 1) = 0.8.
    loss = DiceFocalLoss(focal=None)(torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1))
    assert float(loss) == pytest.approx(0.2)


def test_organ_that_is_nowhere_costs_nearly_one_and_has_no_gradient():
    logits = torch.full((1, 1, 4, 4, 4), -3.0, requires_grad=True)
    loss = DiceFocalLoss(focal=None)(logits, torch.zeros(1, 1, 4, 4, 4))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1, abs=1e-6)
    assert float(logits.grad.abs().max()) < 1e-6


def test_every_organ_counts_alike_whatever_its_size():
    label = torch.zeros(1, 1, 10, 10, 10)
    label[0, 0, 0, 0, 0], label[0, 0, 5:] = 1, 2
    logits = torch.full((1, 2, 10, 10, 10), -SURE)
    logits[0, 1, 5:] = SURE  # the large organ found, the small one missed
    assert float(DiceFocalLoss(focal=None)(logits, label)) == pytest.approx(0.5)


def test_focal_loss_of_unsure_voxels_is_worked_by_hand():
    # 8 voxels, p = 0.5 everywhere, 2 positive: each adds 0.5 * 0.5^2 * ln 2, divided by 2.
    mask = torch.zeros(1, 1, 2, 2, 2)
    mask[0, 0, 0, 0] = 1
    logits = torch.zeros(1, 1, 2, 2, 2)
    focal = DiceFocalLoss()(logits, mask) - DiceFocalLoss(focal=None)(logits, mask)
    assert float(focal) == pytest.approx(8 * 0.125 * math.log(2) / 2, rel=1e-6)


@pytest.fixture
def unequal() -> tuple[Tensor, Tensor]:
    """Two voxels: one positive with p = 0.8, one negative with p = 0.1."""
    logits = torch.tensor([math.log(0.8 / 0.2), math.log(0.1 / 0.9)]).reshape(1, 1, 1, 1, 2)
    return logits, torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)


def test_voxels_are_weighted_by_how_wrong_they_are(unequal):
    focal = DiceFocalLoss()(*unequal) - DiceFocalLoss(focal=None)(*unequal)
    assert float(focal) == pytest.approx(-0.5 * 0.2**2 * math.log(0.8) - 0.5 * 0.1**2 * math.log(0.9), rel=1e-4)


def test_scalar_form_weights_the_mean_cross_entropy_by_the_sum_of_the_weights(unequal):
    focal = DiceFocalLoss(focal="scalar")(*unequal) - DiceFocalLoss(focal=None)(*unequal)
    mean_cross_entropy = -(math.log(0.8) + math.log(0.9)) / 2
    assert float(focal) == pytest.approx(mean_cross_entropy * (0.5 * 0.2**2 + 0.5 * 0.1**2), rel=1e-4)


def test_focal_loss_without_any_organ_is_divided_by_one():
    logits, empty = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    focal = DiceFocalLoss()(logits, empty) - DiceFocalLoss(focal=None)(logits, empty)
    assert float(focal) == pytest.approx(8 * 0.125 * math.log(2), rel=1e-6)


def test_dice_equals_monais_with_squares():
    _, channels = labels_and_channels()
    logits = torch.randn_like(channels)
    expected = monai.losses.DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1e-8, smooth_dr=1e-8)(logits, channels)
    torch.testing.assert_close(DiceFocalLoss(focal=None)(logits, channels), expected)


def test_focal_part_equals_monais_summed_and_divided_by_the_positive_voxels():
    _, channels = labels_and_channels()
    logits = torch.randn_like(channels)
    mean = monai.losses.FocalLoss(gamma=2, alpha=0.5)(logits, channels)
    expected = mean * channels.numel() / channels.sum()
    focal = DiceFocalLoss()(logits, channels) - DiceFocalLoss(focal=None)(logits, channels)
    torch.testing.assert_close(focal, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("focal", ["per_voxel", "scalar", None])
def test_label_map_costs_what_its_channels_cost(focal):
    label, channels = labels_and_channels()
    logits = torch.randn_like(channels)
    loss = DiceFocalLoss(focal)
    torch.testing.assert_close(loss(logits, label), loss(logits, channels))


@pytest.mark.parametrize("focal", ["per_voxel", "scalar"])
def test_gradient_is_that_of_finite_differences(focal):
    label, _ = labels_and_channels(2)
    logits = torch.randn(2, 2, 6, 7, 8)
    direction, step, loss = torch.randn_like(logits), 1e-2, DiceFocalLoss(focal)
    at = logits.clone().requires_grad_()
    loss(at, label).backward()
    difference = (loss(logits + step * direction, label) - loss(logits - step * direction, label)) / (2 * step)
    assert float((at.grad * direction).sum()) == pytest.approx(float(difference), rel=1e-2)


def test_loss_of_reduced_precision_is_computed_in_float32():
    label, channels = labels_and_channels()
    logits = torch.randn_like(channels).bfloat16()
    loss = DiceFocalLoss()(logits, label)
    assert loss.dtype is torch.float32 and torch.equal(loss, DiceFocalLoss()(logits.float(), label))


def test_sure_and_wrong_costs_a_finite_number_with_a_gradient():
    logits = torch.full((1, 1, 2, 2, 2), -200.0, requires_grad=True)
    loss = DiceFocalLoss()(logits, torch.ones(1, 1, 2, 2, 2))
    loss.backward()
    assert math.isfinite(float(loss.detach())) and float(logits.grad.max()) < 0


def test_refuses_a_target_of_another_shape():
    with pytest.raises(ValueError, match=r"one channel of labels 0 to 4; got \(1, 5, 4, 4, 4\)"):
        DiceFocalLoss()(torch.zeros(1, 4, 4, 4, 4), torch.zeros(1, 5, 4, 4, 4))


def test_refuses_an_unknown_focal_part():
    with pytest.raises(ValueError, match="per_voxel, scalar, or None"):
        DiceFocalLoss(focal="upstream")
