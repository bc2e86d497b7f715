"""Boundary loss and its mix with a regional loss (Kervadec et al., 2021, doi 10.1016/j.media.2020.101851)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

__all__ = ["BoundaryLoss", "HybridLoss"]


class BoundaryLoss(nn.Module):
    """Mean over all voxels of ``sigmoid(logit) * distance`` (equation 5 of the paper); negative for good predictions.

    Its unit is that of the map: voxels, mm, or none for a normalized map.

    Shape:
        logits ``(B, 1, D, H, W)`` and the signed distance map of
        :class:`common.transforms.SignedDistanceMapd`, ``(B, 1, D, H, W)``, to a scalar.

    Raises:
        ValueError: when the shapes differ.
    """

    def forward(self, logits: Tensor, distance: Tensor) -> Tensor:
        if logits.shape != distance.shape:
            raise ValueError(
                f"BoundaryLoss takes one distance per logit: got logits {tuple(logits.shape)} and a map "
                f"{tuple(distance.shape)}"
            )
        return torch.mean(torch.sigmoid(logits.float()) * distance.float())


class HybridLoss(nn.Module):
    """``alpha * regional(logits, mask) + (1 - alpha) * boundary(logits, distance)``.

    The target carries mask and map together, because MONAI's trainers hand a loss one target:
    :class:`common.transforms.WithDistanceMapd` makes it of a label.

    Args:
        regional: loss of logits and mask, both ``(B, 1, D, H, W)``; by default the Dice loss over the whole batch.
        boundary: loss of logits and signed distance map; :class:`BoundaryLoss` by default.
        alpha: weight of the regional part, 0 to 1. ``loss.alpha`` may be read and set at any time, which is what the
            schedules in :mod:`common.handlers` do and what their checkpoints restore.

    Shape:
        logits ``(B, 1, D, H, W)``, target ``(B, 2, D, H, W)``: channel 0 the mask (0 or 1), channel 1 the map.

    Raises:
        ValueError: for an alpha outside 0 to 1, or a target without the map.

    Example::

        >>> loss = HybridLoss()
        >>> loss.alpha = 0.99
    """

    def __init__(
        self,
        regional: Callable[[Tensor, Tensor], Tensor] | None = None,
        boundary: Callable[[Tensor, Tensor], Tensor] | None = None,
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        if regional is None:
            regional = DiceLoss(sigmoid=True, batch=True, smooth_nr=0, smooth_dr=1e-6)
        self.regional = regional
        self.boundary = BoundaryLoss() if boundary is None else boundary
        self.alpha = alpha

    @property
    def alpha(self) -> float:
        """Weight of the regional part, 0 to 1."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"HybridLoss: alpha is a weight between 0 and 1, got {value}")
        self._alpha = float(value)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.shape[1] != 2:
            raise ValueError(
                f"HybridLoss takes a target of 2 channels (mask, signed distance map), got {target.shape[1]}: add "
                "common.transforms.WithDistanceMapd to the preprocessing"
            )
        mask, distance = target[:, :1], target[:, 1:]  # (B, 1, D, H, W) each
        logits = logits.float()
        regional = self.regional(logits, mask)
        return self.alpha * regional + (1.0 - self.alpha) * self.boundary(logits, distance)
