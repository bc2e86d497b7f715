"""Holes of a predicted structure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.transforms import MapTransform
from torch import Tensor

__all__ = ["FillEnclosedd"]


class FillEnclosedd(MapTransform):
    """Fill the background that several labels together enclose; what they label themselves stays as it is.

    MONAI's ``FillHolesd`` fills label by label: it makes liver of a tumor inside the liver, and leaves a hole between
    the two. A hole is background from which no path over faces leads to the volume's border.

    Args:
        keys: label maps (1, X, Y, Z); changed in place.
        labels: values that enclose.
        value: what holes become, one of them.

    Example:
        Keep the largest component of liver and tumor together, then fill it:

        >>> from monai.transforms import Compose, KeepLargestConnectedComponentd
        >>> clean = Compose([
        ...     KeepLargestConnectedComponentd("pred", applied_labels=[1, 2], is_onehot=False, independent=False),
        ...     FillEnclosedd("pred", labels=[1, 2], value=1),
        ... ])
    """

    def __init__(self, keys: Sequence[Hashable] | Hashable, *, labels: Sequence[int], value: int) -> None:
        super().__init__(keys)
        self.labels = tuple(labels)
        self.value = value

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            volume = torch.Tensor.as_subclass(out[key], torch.Tensor)[0]
            volume[torch.from_numpy(self._holes(volume.cpu().numpy())).to(volume.device)] = self.value
        return out

    def _holes(self, labels: np.ndarray) -> np.ndarray:
        from scipy.ndimage import binary_fill_holes, find_objects

        structure = np.zeros(labels.shape, bool)
        for label in self.labels:  # np.isin takes twenty times as long
            structure |= labels == label
        holes = np.zeros_like(structure)
        for box in find_objects(structure.view(np.uint8)):  # at most one
            holes[box] = binary_fill_holes(structure[box]) & (labels[box] == 0)
        return holes
