"""What OSS-Net sees: the whole scan at half resolution, and the surroundings of every point at full resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PATCH", "global_observation", "local_observation", "patches_around", "pooled_means"]

PATCH = 7  # voxels, the side of a patch


def global_observation(volume: Tensor, before: list[int], size: list[int]) -> Tensor:
    """The encoder's input: the volume, padded with zeros to the working grid, at half the resolution.

    The mean of 2 x 2 x 2 voxels, which is what trilinear interpolation (corners not aligned) by a factor of two gives.
    The padded volume is never made.

    Args:
        volume: ``(B, C, D, H, W)``.
        before: voxels of padding before the volume, per axis.
        size: sides of the working grid, even, at least ``before`` plus the volume's.

    Returns:
        ``(B, C, *size / 2)``.
    """
    odd = [n % 2 for n in before]
    low = F.avg_pool3d(volume, 2, 2, odd, ceil_mode=True, divisor_override=8)
    widths: list[int] = []
    for axis in (2, 1, 0):
        start = before[axis] // 2
        widths += [start, size[axis] // 2 - start - low.shape[2 + axis]]
    return F.pad(low, widths)


def patches_around(volume: Tensor, points: Tensor, start: int, step: int, side: int = PATCH) -> Tensor:
    """Cut the voxels at ``point + start + (0 .. side - 1) * step`` per axis around every point, 0 outside the volume.

    Args:
        volume: ``(C, D, H, W)`` of one case.
        points: ``(N, 3)``, int64, voxel indices; anywhere.
        start: of the patch, in voxels from the point.
        step: between the patch's voxels.
        side: voxels of the patch along each axis.

    Returns:
        ``(N, C, side, side, side)``; a third of what is in memory meanwhile.
    """
    channels, d, h, w = volume.shape
    steps = start + step * torch.arange(side, device=points.device)
    z, y, x = points[:, 0, None] + steps, points[:, 1, None] + steps, points[:, 2, None] + steps  # (N, side) each
    rows = z.clamp(0, d - 1)[:, :, None] * h + y.clamp(0, h - 1)[:, None, :]  # (N, side, side)
    flat = (rows * w)[..., None] + x.clamp(0, w - 1)[:, None, None, :]
    taken = volume.reshape(channels, -1).index_select(1, flat.reshape(-1))  # (C, N * side³)
    patches = taken.view(channels, -1, side, side, side).transpose(0, 1).contiguous()
    in_z, in_y, in_x = (z >= 0) & (z < d), (y >= 0) & (y < h), (x >= 0) & (x < w)
    partly = torch.nonzero(~(in_z & in_y & in_x).all(dim=1))[:, 0]  # patches that leave the volume: few
    inside = in_z[partly][:, :, None, None] & in_y[partly][:, None, :, None] & in_x[partly][:, None, None, :]
    patches[partly] = patches[partly] * inside[:, None]
    return patches


def pooled_means(volume: Tensor) -> Tensor:
    """Means of all 2 x 2 x 2 blocks of ``(C, D, H, W)``, 0 outside: ``(C, D + 1, H + 1, W + 1)``.

    Element i of an axis is of voxels i - 1 and i. Pooling a patch of 14 x 14 x 14 voxels is picking every other one of
    these, so that it costs no more than a small one.
    """
    return F.avg_pool3d(volume[None], 2, stride=1, padding=1)[0]


def local_observation(volume: Tensor, means: Tensor | None, points: Tensor) -> Tensor:
    """Surroundings of every point: 7 x 7 x 7 voxels, then those from index - 7 to index + 6, mean-pooled to 7 x 7 x 7.

    The larger patch lies half a voxel off the point, as in the authors' code. Its pooling is the mean always; theirs
    takes the maximum in inference.

    Args:
        volume: ``(C, D, H, W)`` of one case.
        means: :func:`pooled_means` of it; None for the small patch alone.
        points: ``(N, 3)``, int64, voxel indices.

    Returns:
        ``(N, C or 2 C, 7, 7, 7)``.
    """
    near = patches_around(volume, points, -3, 1)
    if means is None:
        return near
    return torch.cat([near, patches_around(means, points + 1, -7, 2)], dim=1)
