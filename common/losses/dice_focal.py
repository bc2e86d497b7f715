"""Dice and focal loss of EfficientSegNet (Zhang et al., 2021, arXiv 2109.10601), for organs that are channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.classes import IGNORED

__all__ = ["DiceFocalLoss"]

SMOOTH = 1e-8
ALPHA, GAMMA = 0.5, 2  # of the focal loss: weight of organ and background alike, focus on the hard voxels
CERTAIN = -1e4  # logit of what is certainly background
CLAMP = 1e-4  # the focal weight's probabilities are kept this far from 0 and 1
FOCAL = ("per_voxel", "scalar")


class DiceFocalLoss(nn.Module):
    """Dice plus focal loss of sigmoid channels, one for each organ; the background has none.

    With p the probabilities, g the target (0 or 1), q = p clamped to 1e-4 ... 1 - 1e-4, and p_t, q_t those of the true
    answer (p where g is 1, else 1 - p):

    * Dice: 1 - the mean over samples and organs of (2 Σ p g + 1e-8) / (Σ p² + Σ g² + 1e-8), sums over the volume. An
      organ that is not there counts close to 1, with a gradient that vanishes.
    * focal: Σ 0.5 (1 - q_t)² (-log p_t) / max(Σ g, 1), sums over the batch and all organs.

    Computed in float32 whatever the logits' type, organ by organ. MONAI's DiceFocalLoss divides the focal sum by the
    number of voxels instead, and takes no label map without a channel for the background.

    Args:
        focal: ``"per_voxel"``, as above; ``"scalar"``, as the released code has it: the mean of -log p_t over the
            batch, times Σ 0.5 (1 - q_t)² / max(Σ g, 1); None for Dice alone, the released code's last state.
        ignores: whether label maps have voxels that nobody labeled (:data:`~common.classes.IGNORED`): they count
            nowhere, as if they were background and known for it.

    Shape:
        logits ``(B, C, D, H, W)`` and the target to a scalar. The target is ``(B, C, D, H, W)`` of 0 and 1, or a label
        map ``(B, 1, D, H, W)`` in which the organ of channel c is c + 1 and the background 0, of any number type:
        one byte per voxel instead of C numbers.

    Raises:
        ValueError: for another ``focal``, or a target that fits neither way.

    Example::

        >>> loss = DiceFocalLoss()
        >>> loss(torch.zeros(1, 4, 8, 8, 8), torch.ones(1, 1, 8, 8, 8, dtype=torch.uint8)).shape
        torch.Size([])
    """

    def __init__(self, focal: str | None = "per_voxel", *, ignores: bool = False) -> None:
        super().__init__()
        if focal is not None and focal not in FOCAL:
            raise ValueError(f"focal is one of {', '.join(FOCAL)}, or None for Dice alone, got {focal!r}")
        self.focal = focal
        self.ignores = ignores

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        organs, (batch, *volume) = logits.shape[1], (len(logits), *logits.shape[2:])
        if target.shape not in ((batch, organs, *volume), (batch, 1, *volume)):
            raise ValueError(
                f"the target of logits {tuple(logits.shape)} has their shape, or one channel of labels 0 to {organs}; "
                f"got {tuple(target.shape)}"
            )
        if self.ignores:
            logits = logits.float().masked_fill(target[:, :1] == IGNORED, CERTAIN)
        dice, focal, cross_entropy, positives = [], 0.0, 0.0, 0
        for organ in range(organs):
            logit = logits[:, organ].float()  # (B, D, H, W)
            mask = target[:, 0] == organ + 1 if target.shape[1] < organs else target[:, organ] > 0.5
            dice.append(_dice(torch.sigmoid(logit), mask))
            if self.focal is None:
                continue
            right = torch.where(mask, logit, -logit)  # logit of the true answer: p_t = sigmoid(right)
            entropy = F.softplus(-right)  # -log p_t
            weight = ALPHA * (1 - torch.sigmoid(right).clamp(CLAMP, 1 - CLAMP)) ** GAMMA
            focal = focal + ((weight * entropy) if self.focal == "per_voxel" else weight).sum()
            cross_entropy = cross_entropy + entropy.mean() / organs
            positives = positives + mask.sum()
        loss = 1 - torch.stack(dice).mean()
        if self.focal is None:
            return loss
        focal = focal / positives.clamp(min=1)
        return loss + (focal if self.focal == "per_voxel" else focal * cross_entropy)


def _dice(p: Tensor, mask: Tensor) -> Tensor:
    """Of every sample, (B,)."""
    p, mask = p.flatten(1), mask.flatten(1)
    overlap = torch.where(mask, p, 0).sum(1)
    return (2 * overlap + SMOOTH) / (p.square().sum(1) + mask.sum(1) + SMOOTH)
