"""Boundary loss and its mix with a regional loss (Kervadec et al., 2021, doi 10.1016/j.media.2020.101851)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

__all__ = ["BoundaryLoss", "HybridLoss"]


class BoundaryLoss(nn.Module):
    """Mean over all voxels of ``probability * distance`` (equation 5 of the paper); negative for good predictions.

    Its unit is that of the map: voxels, mm, or none for a normalized map.

    Args:
        softmax: whether the probabilities are those of classes, the background's first, which has no map; otherwise
            every logit has its own, by a sigmoid.

    Shape:
        logits ``(B, C, D, H, W)`` and the signed distance maps of
        :class:`common.transforms.SignedDistanceMapd`, ``(B, C, D, H, W)``, or one fewer with ``softmax``, to a scalar.

    Raises:
        ValueError: when the shapes differ.
    """

    def __init__(self, *, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, logits: Tensor, distance: Tensor) -> Tensor:
        logits = logits.float()
        probability = torch.softmax(logits, dim=1)[:, 1:] if self.softmax else torch.sigmoid(logits)
        if probability.shape != distance.shape:
            raise ValueError(
                f"BoundaryLoss takes one distance per logit{' but the first' * self.softmax}: got logits "
                f"{tuple(logits.shape)} and a map {tuple(distance.shape)}"
            )
        return torch.mean(probability * distance.float())


class HybridLoss(nn.Module):
    """``alpha * regional(logits, mask) + (1 - alpha) * boundary(logits, distance)``.

    The target carries mask and map together, because MONAI's trainers hand a loss one target:
    :class:`common.transforms.WithDistanceMapd` makes it of a label.

    Args:
        regional: loss of logits and masks, both ``(B, C, D, H, W)``; by default the Dice loss over the whole batch.
        boundary: loss of logits and signed distance maps; :class:`BoundaryLoss` by default.
        alpha: weight of the regional part, 0 to 1. ``loss.alpha`` may be read and set at any time, which is what the
            schedules in :mod:`common.handlers` do and what their checkpoints restore.
        softmax: of the default parts: whether channels are classes, background first, instead of structures by sigmoid.

    Shape:
        logits ``(B, C, D, H, W)``, target ``(B, 2 C, D, H, W)``: the masks (0 or 1), then the maps; with ``softmax``
        one map fewer, as the background has none.

    Raises:
        ValueError: for an alpha outside 0 to 1, or a target without the maps.

    Example::

        >>> loss = HybridLoss()
        >>> loss.alpha = 0.99
    """

    def __init__(
        self,
        regional: Callable[[Tensor, Tensor], Tensor] | None = None,
        boundary: Callable[[Tensor, Tensor], Tensor] | None = None,
        alpha: float = 1.0,
        *,
        softmax: bool = False,
    ) -> None:
        super().__init__()
        if regional is None:
            regional = DiceLoss(sigmoid=not softmax, softmax=softmax, batch=True, smooth_nr=0, smooth_dr=1e-6)
        self.regional = regional
        self.boundary = BoundaryLoss(softmax=softmax) if boundary is None else boundary
        self.softmax = softmax
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
        channels = logits.shape[1]
        expected = 2 * channels - self.softmax
        if target.shape[1] != expected:
            raise ValueError(
                f"HybridLoss takes a target of {expected} channels (masks, signed distance maps), got "
                f"{target.shape[1]}: add common.transforms.WithDistanceMapd to the preprocessing"
            )
        mask, distance = target[:, :channels], target[:, channels:]  # (B, C, D, H, W) each
        logits = logits.float()
        regional = self.regional(logits, mask)
        return self.alpha * regional + (1.0 - self.alpha) * self.boundary(logits, distance)
