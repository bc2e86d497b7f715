"""A coarse segmentation says where to look for a structure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from common.inferers.occupancy_field import Candidates

__all__ = ["LowResolutionStart"]


class LowResolutionStart:
    """Candidates from OSS-Net's auxiliary segmentation: where it says more than ``threshold``, linearly interpolated.

    The segmentation's voxels are placed with their centers where they belong. (The published code aligns the corner
    voxels' centers with the first and last point, up to 16 voxels off in BraTS: ``align_corners``.)

    Args:
        threshold: probability; of several structures the largest counts.
        dilation: voxels of the segmentation by which it is grown before, so that what is found does not hang on its
            recall.
        align_corners: as in the published code, for comparison with it.
    """

    def __init__(self, *, threshold: float = 0.5, dilation: int = 1, align_corners: bool = False) -> None:
        self.threshold = threshold
        self.dilation = dilation
        self.align_corners = align_corners

    def __call__(self, coarse: Tensor, before: Sequence[int], size: Sequence[int]) -> Candidates:
        """Candidates of one case.

        Args:
            coarse: probabilities ``(K, d, h, w)`` of the structures, without the background.
            before: voxels of the working grid before the volume's first, per axis.
            size: sides of the working grid, in voxels.

        Returns:
            Which points of a lattice are candidates; the lattice is of the volume's voxels.
        """
        coarse = coarse.amax(dim=0).float()  # (d, h, w)
        if self.dilation:
            coarse = F.max_pool3d(coarse[None], 2 * self.dilation + 1, stride=1, padding=self.dilation)[0]

        def candidates(axes: Sequence[Tensor], stride: int) -> Tensor:
            value = coarse
            for index, first, n, cells in zip(axes, before, size, coarse.shape, strict=True):
                if self.align_corners:
                    last = (n - 1) // stride * stride  # point of the lattice
                    place = ((index + first) / max(last, 1) * (cells - 1)).clamp(max=cells - 1)
                else:
                    place = ((index + first + 0.5) * cells / n - 0.5).clamp(0, cells - 1)
                weights = (1 - (place[:, None] - torch.arange(cells, device=place.device)).abs()).clamp(min=0)
                with torch.autocast(value.device.type, enabled=False):  # the axis goes to the end; three bring it back
                    value = torch.tensordot(value, weights, dims=([0], [1]))
            return value > self.threshold

        return candidates
