"""A loss of several structures, of a label map that holds classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from common.classes import class_maps
from common.losses.known import known_voxels

__all__ = ["StructureLoss"]


class StructureLoss(nn.Module):
    """What a loss of masks says of all structures of a plan; voxels that nobody labeled count nowhere.

    With ``"sigmoid"`` every structure is a question of its own, and the result the mean of the loss over them. With
    ``"softmax"`` the loss is asked once, about the masks of all classes, background first.

    Args:
        loss: of logits and a target: masks, and behind them the distance maps where the target has some. It must depend
            on voxels one by one or on sums over the whole batch, as all do that this bundle's configs name, where
            voxels are ignored.
        maps: the classes of each of the network's channels, without background: see
            :class:`~common.datasets.PlannedStructures`.
        output: ``"sigmoid"`` or ``"softmax"``.
        ignores: whether labels have voxels of the class :data:`~common.classes.IGNORED`.

    Shape:
        logits ``(B, C, D, H, W)`` with C = K for ``"sigmoid"`` and K + 1 for ``"softmax"``; the target
        ``(B, 1, D, H, W)`` of classes, or ``(B, 1 + K, D, H, W)`` with a distance map for each structure behind; to a
        scalar. Where all voxels are ignored it is 0.

    Raises:
        ValueError: for another number of channels.

    Example::

        >>> loss = StructureLoss(DiceLoss(softmax=True, batch=True), maps=[[1], [2]], output="softmax")
        >>> loss(torch.zeros(1, 3, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8)).shape
        torch.Size([])
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        maps: Sequence[Sequence[int]] = ((1,),),
        output: str = "sigmoid",
        ignores: bool = False,
    ) -> None:
        super().__init__()
        if output not in ("sigmoid", "softmax"):
            raise ValueError(f"output must be sigmoid or softmax, got {output!r}")
        self.loss = loss
        self.maps = [list(classes) for classes in maps]
        self.output = output
        self.ignores = ignores

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        count = len(self.maps)
        if logits.shape[1] != count + (self.output == "softmax") or target.shape[1] not in (1, 1 + count):
            raise ValueError(
                f"StructureLoss of {count} structures ({self.output}): got logits {tuple(logits.shape)} and a target "
                f"{tuple(target.shape)}"
            )
        logits, target = (torch.Tensor.as_subclass(tensor, torch.Tensor) for tensor in (logits, target))
        if self.ignores:
            chosen = known_voxels(logits, target)
            if chosen is None:
                return logits.float().sum() * 0.0
            logits, target = chosen
        masks = class_maps(target[:, :1], self.maps).float()  # (B, K, D, H, W)
        distances = target[:, 1:]
        if self.output == "softmax":
            background = 1 - masks.amax(dim=1, keepdim=True)
            return self.loss(logits, torch.cat([background, masks, distances.to(masks.dtype)], dim=1))
        each = []
        for n in range(count):
            own = torch.cat([masks[:, n : n + 1], distances[:, n : n + 1].to(masks.dtype)], dim=1)
            each.append(self.loss(logits[:, n : n + 1], own))
        return each[0] if count == 1 else torch.stack(each).mean()
