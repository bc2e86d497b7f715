"""Label maps of classes: the masks of structures, and the voxels that nobody labeled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["IGNORED", "class_maps", "class_values", "foreground"]

IGNORED = 255  # the class of voxels that nobody labeled


def foreground(label: Tensor) -> Tensor:
    """Where a label has any structure, boolean of its shape; not where nobody labeled it."""
    return (label != 0) & (label != IGNORED)


def class_values(label_values: Sequence[int], ignore: int | None = None) -> dict[int, int]:
    """Value in a file -> class: its place in ``label_values``; :data:`IGNORED` for what nobody labeled.

    Args:
        label_values: background first.
        ignore: the value of voxels that nobody labeled; None where there are none.
    """
    classes = {value: number for number, value in enumerate(label_values)}
    return classes if ignore is None else {**classes, ignore: IGNORED}


def class_maps(label: Tensor, maps: Sequence[Sequence[int]]) -> Tensor:
    """A mask for every group of classes: ``(B, 1, ...)`` to boolean ``(B, K, ...)``, or ``(1, ...)`` to ``(K, ...)``.

    Args:
        label: classes, whole numbers of any type.
        maps: the classes of each of the K masks.
    """
    plain = torch.Tensor.as_subclass(label, torch.Tensor)
    masks = []
    for classes in maps:
        mask = plain == classes[0]
        for other in classes[1:]:
            mask = mask | (plain == other)
        masks.append(mask)
    return torch.cat(masks, dim=-4)
