"""Random brightness of whole organs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

__all__ = ["RandOrganShiftd"]


class RandOrganShiftd(RandomizableTransform, MapTransform):
    """Make organs brighter or darker, each by a number of its own: phases and contrast media differ that way.

    For each label independently, with probability ``prob``, one whole number uniform in [low, high) is added to all of
    its voxels. The background stays.

    Args:
        keys: images of shape ``(1, D, H, W)``, in HU, of a floating-point type.
        label_key: classes of shape ``(1, D, H, W)``, 0 to 255, on the same grid.
        labels: the classes that may change.
        limits: low and high, HU.
        prob: for each label.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        label_key: Hashable = "label",
        labels: Sequence[int] = (1, 2, 3, 4),
        limits: Sequence[int] = (-200, 200),
        prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key = label_key
        self.labels = tuple(labels)
        self.limits = tuple(limits)
        self.shifts: dict[int, int] = {}

    def randomize(self, data: None = None) -> None:
        """Draw ``shifts``, label -> HU, of the labels that change."""
        self.shifts = {}
        for label in self.labels:
            super().randomize(data)
            if self._do_transform:
                self.shifts[label] = int(self.R.randint(*self.limits))

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        self.randomize()
        if not self.shifts:
            return out
        label = torch.as_tensor(out[self.label_key]).as_subclass(torch.Tensor)
        for key in self.key_iterator(out):
            added = torch.zeros(256, dtype=out[key].dtype, device=out[key].device)
            for value, shift in self.shifts.items():
                added[value] = shift
            out[key] = out[key] + added[label.int()]
        return out
