"""Boxes in voxels: where a structure lies, and the box of a common size around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms.utils import get_largest_connected_component_mask
from torch import Tensor

__all__ = ["Box", "centered_box", "common_size", "mask_box", "soft_sum_box"]


@dataclass(frozen=True)
class Box:
    """Half-open box ``[start, stop)`` in voxels, one number per axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """The box of a whole volume."""
        return cls((0,) * len(shape), tuple(int(s) for s in shape))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def regridded(self, shape: Sequence[int], to: Sequence[int]) -> Box:
        """The smallest box on the grid ``to`` that covers this one on the grid ``shape`` of the same field of view."""
        start = [a * fine // coarse for a, fine, coarse in zip(self.start, to, shape, strict=True)]
        stop = [-(-b * fine // coarse) for b, fine, coarse in zip(self.stop, to, shape, strict=True)]
        return Box(tuple(start), tuple(stop))


def mask_box(mask: Tensor, *, largest_component: bool = False) -> Box | None:
    """Bounding box of the foreground of a ``(D, H, W)`` mask, or None if it is empty.

    Args:
        mask: boolean or integer; non-zero is foreground.
        largest_component: only the largest 26-connected component counts.
    """
    array = torch.as_tensor(mask).cpu().numpy() != 0
    if largest_component and array.any():
        array = get_largest_connected_component_mask(array)
    start, stop = [], []
    for axis in range(array.ndim):
        hits = np.flatnonzero(array.any(axis=tuple(a for a in range(array.ndim) if a != axis)))
        if not len(hits):
            return None
        start.append(int(hits[0]))
        stop.append(int(hits[-1]) + 1)
    return Box(tuple(start), tuple(stop))


def soft_sum_box(probability: Tensor, *, minimum: float = 10.0) -> Box | None:
    """The original rule: per axis, from the first to the last slice whose probabilities sum to at least ``minimum``.

    The original takes the extent as ``last - first``; so does this, as ``stop = last``. None if an axis has no such
    pair of slices. Needs an almost perfectly saturated background: a 160x160 slice sums to 10 at a mean probability of
    3.9e-4.

    Args:
        probability: ``(D, H, W)`` in 0..1, not thresholded.
        minimum: sum that a slice must reach.
    """
    start, stop = [], []
    for axis in range(probability.ndim):
        others = [a for a in range(probability.ndim) if a != axis]
        hits = torch.nonzero(torch.as_tensor(probability).float().sum(others) >= minimum).flatten()
        if len(hits) < 2:
            return None
        start.append(int(hits[0]))
        stop.append(int(hits[-1]))
    return Box(tuple(start), tuple(stop))


def common_size(boxes: Sequence[Box], *, buffer: Sequence[int], divisor: int = 16) -> tuple[int, ...]:
    """One size for all cases: largest extent per axis, plus ``buffer`` once, up to the next multiple.

    Args:
        boxes: boxes of the training cases, in voxels of the network's grid.
        buffer: voxels added per axis in all (half on each side).
        divisor: the network halves the volume; sides are multiples of this.
    """
    if not boxes:
        raise ValueError("no box to derive the common size from")
    extent = np.max([box.shape for box in boxes], axis=0) + np.asarray(buffer)
    return tuple(int(n) for n in -(-extent // divisor) * divisor)


def centered_box(box: Box, size: Sequence[int], shape: Sequence[int]) -> Box:
    """The box of ``size`` centered on ``box``, shifted back inside the volume; cut to the volume where it is larger.

    Args:
        box: where the structure lies.
        size: sides of the box in voxels.
        shape: sides of the volume in voxels.
    """
    start, stop = [], []
    for a, b, want, n in zip(box.start, box.stop, size, shape, strict=True):
        side = min(int(want), int(n))
        first = min(max((a + b) // 2 - int(want) // 2, 0), int(n) - side)
        start.append(first)
        stop.append(first + side)
    return Box(tuple(start), tuple(stop))
