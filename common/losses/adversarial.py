"""Least-squares adversarial losses (Mao et al., ICCV 2017, arXiv 1611.04076) of patch scores.

The numbers of MONAI's ``PatchAdversarialLoss("least_squares", no_activation_leastsq=True)`` without its target tensors,
which it makes on the host at every call.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["discriminator_accuracy", "least_squares_discriminator_loss", "least_squares_generator_loss"]


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``(mean((D(real) - 1)^2) + mean(D(fake)^2)) / 2`` of scores of any shape; a scalar."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    """``mean((D(fake) - 1)^2)`` of scores of any shape; a scalar."""
    return (fake - 1).square().mean()


def discriminator_accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Fraction of all patches (0 to 1) that score 0.5 or more if real, 0.5 or less if fake; a scalar without gradient.

    0.5 for a discriminator that cannot tell them apart, 1 for one that always can.
    """
    right = (real.detach() >= 0.5).sum() + (fake.detach() <= 0.5).sum()
    return right / (real.numel() + fake.numel())
