"""Vox2Vox's two Dice losses, worked by hand: its own and MONAI's as the configs use it."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss

from common.losses import ClassWeightedDiceLoss


def volume(*rows: list[float]) -> torch.Tensor:
    """(1, C, 1, 1, voxels) of a row per class."""
    return torch.tensor(rows)[None, :, None, None]


P = volume([0.7, 0.2, 0.1], [0.2, 0.5, 0.1], [0.1, 0.3, 0.8])
Y = volume([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])


def test_classes_are_weighed_within_one_fraction():
    # S1 = 1 * 0.7 + 10 * 0.5 + 4 * 0.8, S2 = 1 * (1 + 1.0) + 10 * (1 + 0.8) + 4 * (1 + 1.2)
    expected = 1 - 2 * 8.9 / (28.8 + 1e-5)
    assert float(ClassWeightedDiceLoss([1.0, 10.0, 4.0])(P, Y)) == pytest.approx(expected, abs=1e-6)


def test_volumes_of_a_batch_are_summed_before_the_fraction():
    other = volume([0.9, 0.9, 0.9], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0])
    label = volume([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    # the second volume adds 2.7 to S1, and (3 + 2.7) + 10 * 0.3 to S2
    expected = 1 - 2 * (8.9 + 2.7) / (28.8 + 8.7 + 1e-5)
    loss = ClassWeightedDiceLoss([1.0, 10.0, 4.0])(torch.cat([P, other]), torch.cat([Y, label]))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_a_perfect_segmentation_has_no_loss():
    assert float(ClassWeightedDiceLoss([1.0, 10.0, 4.0])(Y, Y)) == pytest.approx(0, abs=1e-6)


def test_loss_falls_along_its_gradient():
    p = P.clone().requires_grad_()
    loss = ClassWeightedDiceLoss([1.0, 10.0, 4.0])
    loss(p, Y).backward()
    assert loss(p - 0.1 * p.grad, Y) < loss(p, Y)


@pytest.mark.parametrize("label", [Y[:, :2], torch.cat([Y, Y[:, :1]], dim=1)])
def test_another_number_of_channels_is_refused(label):
    with pytest.raises(ValueError, match=r"with 3 weights takes as many channels in both: got probabilities \(1, 3"):
        ClassWeightedDiceLoss([1.0, 10.0, 4.0])(P, label)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be >= 0 and not all 0"):
        ClassWeightedDiceLoss(weights)


def test_squared_dice_of_the_article_is_monais_with_a_smoothing_of_one():
    p, t = torch.tensor([0.9, 0.4, -0.5, 0.2]), torch.tensor([1.0, 1.0, -1.0, -1.0])  # tanh against labels of +-1
    # 2 * (0.9 + 0.4 + 0.5 - 0.2) + 1 over (0.81 + 0.16 + 0.25 + 0.04) + 4 + 1
    expected = 1 - 4.2 / 6.26
    loss = DiceLoss(squared_pred=True, batch=True, smooth_nr=1, smooth_dr=1)
    assert float(loss(p.reshape(2, 1, 1, 1, 2), t.reshape(2, 1, 1, 1, 2))) == pytest.approx(expected, abs=1e-6)
