"""A transform of label maps, computed where there are labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from monai.transforms import MapTransform
from torch import Tensor

from common.transforms.boxes import mask_box

__all__ = ["InForegroundBoxd"]


class InForegroundBoxd(MapTransform):
    """Transform label maps inside the bounding box of their foreground: the same labels, sooner.

    For transforms that change nothing outside of it and see no border: the components of a structure are the same
    inside its box, and MONAI's ``KeepLargestConnectedComponent`` takes 0.01 s there instead of 0.25 s in 576x576x88.

    Args:
        keys: label maps (1, X, Y, Z), 0 for background; changed in place.
        transform: (1, x, y, z) to labels of the same shape; not called where there is background alone.

    Example::

        >>> clean = InForegroundBoxd("pred", KeepLargestConnectedComponent(applied_labels=[1]))
    """

    def __init__(self, keys: Sequence[Hashable] | Hashable, transform: Callable[[Tensor], Tensor]) -> None:
        super().__init__(keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            labels = torch.Tensor.as_subclass(out[key], torch.Tensor)
            box = mask_box(labels[0])
            if box is not None:
                part = (slice(None), *box.slices)
                labels[part] = torch.as_tensor(self.transform(labels[part]), device=labels.device)
        return out
