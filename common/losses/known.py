"""Losses of the voxels that somebody labeled."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from common.classes import IGNORED

__all__ = ["KnownVoxelsLoss", "known_voxels"]


def known_voxels(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    """The N labeled voxels of a batch as a batch of one, ``(1, C, N, 1, 1)`` each; None where there is none.

    Args:
        logits: ``(B, C, D, H, W)``.
        target: ``(B, T, D, H, W)``; channel 0 holds classes, :data:`~common.classes.IGNORED` where nobody labeled.
    """
    known = target[:, 0] != IGNORED  # (B, D, H, W)
    if not known.any():
        return None
    return _chosen(logits, known), _chosen(target, known)


class KnownVoxelsLoss(nn.Module):
    """Another loss of the labeled voxels alone: those of the class :data:`~common.classes.IGNORED` count nowhere.

    Args:
        loss: of logits and a label of classes. It must depend on voxels one by one or on sums over the whole batch,
            where voxels are ignored.
        ignores: whether labels have such voxels; where they have none, the loss sees the batch as it is.

    Shape:
        logits ``(B, C, D, H, W)`` and a label ``(B, 1, D, H, W)`` to a scalar, 0 where nothing is labeled.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], *, ignores: bool) -> None:
        super().__init__()
        self.loss = loss
        self.ignores = ignores

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        if not self.ignores:
            return self.loss(logits, label)
        chosen = known_voxels(logits, label)
        return logits.float().sum() * 0.0 if chosen is None else self.loss(*chosen)


def _chosen(x: Tensor, where: Tensor) -> Tensor:
    return x.movedim(1, -1)[where].T[None, :, :, None, None]
