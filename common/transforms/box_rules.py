"""From a coarse network's logits to the box of the structure in the volume: rules for a locator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from common.transforms.boxes import Box, mask_box, soft_sum_box
from common.transforms.components import ORGANS, large_components

__all__ = ["LargestComponentBox", "OrganBox", "SoftSumBox"]


class LargestComponentBox:
    """The box of the largest 26-connected components of probability >= 0.5, of a network with one logit map.

    Args:
        least: of the largest component's voxels, what others must have to count; 1: the largest alone.

    All rules are called as ``rule(logits, shape, spacing)``: logits ``(K, d, h, w)`` float32 on the coarse grid, sides
    of the volume of the same field of view, and its voxels' mm. They return a :class:`Box` in the volume's voxels, or
    None where nothing was found.
    """

    def __init__(self, *, least: float = 1.0) -> None:
        self.least = least

    def __call__(self, logits: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Box | None:
        mask = torch.sigmoid(logits[0]) >= 0.5
        if self.least < 1 and mask.any():
            array = mask.cpu().numpy()
            largest = int(large_components(array, count=1, more_than=0).sum())
            mask = torch.from_numpy(large_components(array, count=array.size, more_than=self.least * largest - 1))
        box = mask_box(mask, largest_component=self.least >= 1)
        return None if box is None else box.regridded(logits.shape[1:], shape)


class SoftSumBox:
    """The V-Net paper's rule, see :func:`soft_sum_box`; called as :class:`LargestComponentBox`."""

    def __call__(self, logits: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Box | None:
        box = soft_sum_box(torch.sigmoid(logits[0]))
        return None if box is None else box.regridded(logits.shape[1:], shape)


class OrganBox:
    """The box of all organs' largest components, and a margin (EfficientSegNet, section 9, steps 3 to 6).

    Called as :class:`LargestComponentBox`. The arithmetic is the authors', which published weights were measured with:
    the coarse voxels' indices, first and last, times the plain ratio of the sides, truncated (of the last coarse voxel
    that is the lower edge); the margin in voxels is not rounded before it is added; the sum is truncated.

    Args:
        components: how many components to keep at most, for each of the K organs.
        min_size: mm³ that a component must exceed.
        margin: mm on each side.
    """

    def __init__(self, *, components: Sequence[int] = ORGANS, min_size: float = 1000.0, margin: float = 20.0) -> None:
        self.components = tuple(components)
        self.min_size = min_size
        self.margin = margin

    def __call__(self, logits: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Box | None:
        ratio = np.asarray(shape) / np.asarray(logits.shape[1:])
        more_than = self.min_size / float(np.prod(np.asarray(spacing) * ratio))
        boxes = []
        for channel, count in zip(logits >= 0, self.components, strict=True):
            if (around := mask_box(channel)) is None:
                continue
            kept = large_components(channel[around.slices].cpu().numpy(), count=count, more_than=more_than)
            if (box := mask_box(torch.from_numpy(kept))) is not None:
                boxes.append(np.add([box.start, box.stop], around.start))
        if not boxes:
            return None
        first = np.min(boxes, axis=0)[0]
        last = np.max(boxes, axis=0)[1] - 1
        margin = self.margin / np.asarray(spacing)
        start = np.maximum(0, (np.trunc(first * ratio) - margin).astype(int))
        stop = np.minimum(shape, (np.trunc(last * ratio) + margin).astype(int))
        stop = np.maximum(stop, start + 1)  # a margin of less than a voxel
        return Box(tuple(start.tolist()), tuple(stop.tolist()))
