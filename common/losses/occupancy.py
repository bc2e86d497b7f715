"""Loss of OSS-Net (Reich et al., BMVC 2021): occupancy of points, and of the auxiliary segmentation's voxels."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from common.classes import IGNORED

__all__ = ["OccupancyLoss"]

EPS = 1e-6  # probabilities stay this far from 0 and 1
LARGEST = math.log((1 - EPS) / EPS)


class OccupancyLoss(nn.Module):
    """Cross entropy of the points plus a weighted one of the auxiliary segmentation, each the plain mean.

    Takes what :class:`common.networks.OSSNet` gives in training, and what
    :class:`common.transforms.SamplePointsd` makes of the label. Probabilities are clamped to [1e-6, 1 - 1e-6] before
    the logarithm, as in the authors' code (here on the logits, which is the same and loses no digits).

    One structure, or regions that may overlap (``"sigmoid"``): binary cross entropy of each channel. Classes
    (``"softmax"``): softmax and cross entropy for the points; for the auxiliary segmentation, whose voxels hold every
    class found in the voxels that they cover, the binary cross entropy of each class. What is not known counts nowhere.

    Args:
        points: N, number of points of a case.
        output: ``"sigmoid"`` or ``"softmax"``.
        auxiliary_weight: alpha of the paper; a variant without auxiliary segmentation has no such term.

    Shape:
        logits ``(B, K, N)`` or ``(B, K, N + w)``, and a target of 0, 1 and 255 (not known) ``(B, K, N + w)``, to a
        scalar; 0 where nothing is known.

    Raises:
        ValueError: if logits and target do not belong together.
    """

    def __init__(self, points: int, *, output: str = "sigmoid", auxiliary_weight: float = 0.1) -> None:
        super().__init__()
        self.points = points
        self.output = output
        self.auxiliary_weight = auxiliary_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        n = self.points
        if logits.shape[2] == n < target.shape[2]:
            target = target[..., :n]
        if logits.shape != target.shape:
            raise ValueError(
                f"OccupancyLoss({n}): logits {tuple(logits.shape)} and target {tuple(target.shape)} do not belong "
                "together; do the network's low_shape, SamplePointsd's low_shape and the number of points agree?"
            )
        logits, target = logits.float(), target.float()
        of_points = _cross_entropy if self.output == "softmax" else _binary_cross_entropy
        loss = of_points(logits[..., :n], target[..., :n])
        if logits.shape[2] > n:
            loss = loss + self.auxiliary_weight * _binary_cross_entropy(logits[..., n:], target[..., n:])
        return loss


def _binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    known = (target != IGNORED).float()
    losses = F.binary_cross_entropy_with_logits(logits.clamp(-LARGEST, LARGEST), target * known, reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    known = (target[:, 0] != IGNORED).float()  # of a point all classes are known, or none
    log_probability = F.log_softmax(logits, dim=1).clamp(math.log(EPS), math.log1p(-EPS))
    losses = -(target * log_probability).sum(dim=1)
    return (losses * known).sum() / known.sum().clamp(min=1)
