"""Least-squares adversarial losses by hand and against MONAI's."""

from __future__ import annotations

import pytest
import torch
from monai.losses import PatchAdversarialLoss

from common.losses import discriminator_accuracy, least_squares_discriminator_loss, least_squares_generator_loss

REAL, FAKE = torch.tensor([1.0, 0.5, 2.0, 0.4]), torch.tensor([0.0, 0.5, -1.0, 3.0])


def monai_loss(scores: torch.Tensor, target_is_real: bool, for_discriminator: bool) -> torch.Tensor:
    loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
    return loss(scores[None, None], target_is_real, for_discriminator)


def test_discriminator_loss_is_half_the_sum_of_both_mean_squares():
    # real: (0 + 0.25 + 1 + 0.36) / 4, fake: (0 + 0.25 + 1 + 9) / 4
    assert float(least_squares_discriminator_loss(REAL, FAKE)) == pytest.approx(0.5 * (0.4025 + 2.5625))


def test_generator_loss_is_the_mean_square_from_one():
    assert float(least_squares_generator_loss(FAKE)) == pytest.approx((1 + 0.25 + 4 + 4) / 4)


def test_discriminator_loss_is_monais_without_its_leaky_relu():
    expected = 0.5 * (monai_loss(REAL, True, True) + monai_loss(FAKE, False, True))
    torch.testing.assert_close(least_squares_discriminator_loss(REAL, FAKE), expected)


def test_generator_loss_is_monais_without_its_leaky_relu():
    torch.testing.assert_close(least_squares_generator_loss(FAKE), monai_loss(FAKE, True, False))


def test_accuracy_is_the_share_of_patches_on_the_right_side_of_one_half_itself_included():
    # real: 1, 0.5 and 2 are right; fake: 0, 0.5 and -1
    assert float(discriminator_accuracy(REAL, FAKE)) == 6 / 8


@pytest.mark.parametrize(("real", "fake", "accuracy"), [(1.0, 0.0, 1.0), (0.9, 0.9, 0.5), (0.1, 0.9, 0.0)])
def test_accuracy_of_a_discriminator_that_always_cannot_or_never_does_tell(real, fake, accuracy):
    scores = torch.ones(2, 1, 8, 8, 8)
    assert float(discriminator_accuracy(real * scores, fake * scores)) == accuracy
