"""From logits and label maps of classes to masks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.transforms import MapTransform
from torch import Tensor

from common.classes import IGNORED, class_maps

__all__ = ["DiscreteMapsd"]


class DiscreteMapsd(MapTransform):
    """Prediction and label as masks of the same channels, ready for Dice: background is no channel.

    Voxels that nobody labeled are in no mask, neither of the prediction nor of the label.

    Args:
        keys: the prediction's logits ``(C, D, H, W)``, and the label's, whose first channel holds classes.
        maps: the classes of each mask; see :class:`~common.datasets.PlannedStructures`.
        output: ``"softmax"``: the prediction's first channel is the background's, and the largest logit counts;
            ``"sigmoid"``: logits above 0.

    Returns:
        float32 ``(K, D, H, W)`` each, 0 or 1.
    """

    def __init__(
        self, keys: Sequence[Hashable] = ("pred", "label"), *, maps: Sequence[Sequence[int]], output: str = "sigmoid"
    ) -> None:
        super().__init__(keys)
        self.maps = [list(classes) for classes in maps]
        self.output = output

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        pred, label = self.keys
        logits, classes = (torch.Tensor.as_subclass(out[key], torch.Tensor) for key in (pred, label))
        if self.output == "softmax":
            masks = class_maps(logits.argmax(dim=0, keepdim=True), [[n] for n in range(1, len(logits))])
        else:
            masks = logits > 0
        known = classes[:1] != IGNORED
        out[pred] = (masks & known).float()
        out[label] = class_maps(classes[:1], self.maps).float()
        return out
