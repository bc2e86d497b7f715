"""The grid on which OSS-Net works: a volume, and zeros around it (Reich et al., BMVC 2021; their code)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.transforms import MapTransform
from torch import Tensor

__all__ = ["PadToWorkingGridd", "working_grid"]


def working_grid(shape: Sequence[int], least: Sequence[int] | None, divisor: int) -> tuple[list[int], list[int]]:
    """Where a volume lies on its working grid: of the voxels that are added, half come before it, rounded up.

    Args:
        shape: the volume's sides, in voxels.
        least: sides of the grid; an axis on which the volume is larger grows to the next multiple of ``divisor``. None:
            every axis does.
        divisor: what the encoder needs, :attr:`common.networks.OSSNet.size_divisor`.

    Returns:
        Voxels before the volume, and the grid's sides. BraTS's 240 x 240 x 155 on 256 x 256 x 160: (8, 8, 3).
    """
    size = [
        n if n >= side else -(-side // divisor) * divisor for n, side in zip(least or (0, 0, 0), shape, strict=True)
    ]
    return [(n - side + 1) // 2 for n, side in zip(size, shape, strict=True)], size


class PadToWorkingGridd(MapTransform):
    """Put volumes on their working grid, and note where on it they lie.

    Args:
        keys: volumes ``(C, D, H, W)`` of one shape.
        size: sides of the grid, see :func:`working_grid`.
        divisor: see there.
        box_key: key of the place, int64 ``(2, 3)``: the volume's first voxel, and the one behind its last.

    The volumes become plain tensors: coordinates on this grid are the network's alone.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        size: Sequence[int],
        *,
        divisor: int,
        box_key: Hashable = "box",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = tuple(size)
        self.divisor = divisor
        self.box_key = box_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            volume: Tensor = torch.Tensor.as_subclass(out[key], torch.Tensor)
            shape = volume.shape[1:]
            before, size = working_grid(shape, self.size, self.divisor)
            after = [n - b - side for n, b, side in zip(size, before, shape, strict=True)]
            out[key] = F.pad(volume, [n for pair in zip(before[::-1], after[::-1], strict=True) for n in pair])
            out[self.box_key] = torch.tensor([before, [b + n for b, n in zip(before, shape, strict=True)]])
        return out
