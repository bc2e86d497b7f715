"""Dice loss in which every class has a fixed weight (Vox2Vox)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ClassWeightedDiceLoss"]


class ClassWeightedDiceLoss(nn.Module):
    """One Dice of all classes together, ``1 - 2 S1 / (S2 + 1e-5)``, background included.

    ``S1 = sum_c w_c sum(y_c p_c)`` and ``S2 = sum_c w_c sum(y_c + p_c)``, the inner sums over the batch and its voxels
    together: the "generalized" Dice of the authors' code. Sudre's generalized Dice (MONAI's ``GeneralizedDiceLoss``)
    takes its weights, 1 / volume^2, from every batch instead; here they are given, for example those of
    :func:`common.datasets.balanced_class_weights`.

    Args:
        weights: w_c of every class, background first, >= 0.

    Shape:
        probabilities p and one-hot label y, both ``(B, C, D, H, W)`` and within 0 to 1, to a scalar.

    Raises:
        ValueError: for negative weights, another number of channels than weights, or shapes that differ.

    Example::

        >>> loss = ClassWeightedDiceLoss([0.257, 45.5, 16.5, 49.1])
    """

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32), persistent=False)
        if (self.weights < 0).any() or not self.weights.any():
            raise ValueError(f"ClassWeightedDiceLoss: weights must be >= 0 and not all 0, got {list(weights)}")

    def forward(self, probabilities: Tensor, label: Tensor) -> Tensor:
        if probabilities.shape != label.shape or label.shape[1] != len(self.weights):
            raise ValueError(
                f"ClassWeightedDiceLoss with {len(self.weights)} weights takes as many channels in both: got "
                f"probabilities {tuple(probabilities.shape)} and a one-hot label {tuple(label.shape)}"
            )
        p, y = probabilities.float(), label.float()
        self.weights = self.weights.to(p.device)  # the first time, where it computes
        voxels = (0, 2, 3, 4)
        both = (self.weights * (y * p).sum(voxels)).sum()
        each = (self.weights * (y.sum(voxels) + p.sum(voxels))).sum()
        return 1 - 2 * both / (each + 1e-5)
