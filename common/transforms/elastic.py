"""Random smooth deformation by a few control points."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor, ensure_tuple_rep
from torch import Tensor

__all__ = ["RandControlPointElasticd"]


class RandControlPointElasticd(RandomizableTransform, MapTransform):
    """With some probability, shift the nodes of a coarse grid by normal numbers and let the volume follow smoothly.

    The nodes span the volume from its first to its last voxel; between them every component of the displacement u is a
    natural cubic spline. Voxel o of the result is read at o + u(o), outside the volume as zero. The coarse grid of
    Vox2Vox's authors (3x3x3 nodes, sigma 2 voxels); MONAI's ``Rand3DElastic`` smooths noise of the full size instead,
    which costs much more.

    Args:
        keys: items of shape ``(C, D, H, W)``, all on one grid.
        prob: probability of a deformation.
        points: nodes per axis, at least 2.
        sigma: standard deviation of a node's shift along each axis, in voxels.
        mode: ``"bilinear"`` or ``"nearest"``, for all keys or each.

    Raises:
        ValueError: for fewer than 2 points.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        prob: float = 0.5,
        points: int = 3,
        sigma: float = 2.0,
        mode: Sequence[str] | str = "bilinear",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        if points < 2:
            raise ValueError(f"RandControlPointElasticd: a spline needs at least 2 points per axis, got {points}")
        self.points = points
        self.sigma = sigma
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.shifts = np.zeros((3, points, points, points))

    def randomize(self, data: None = None) -> None:
        """Draw whether to deform, and the shifts of the nodes in voxels, (3, points, points, points)."""
        super().randomize(None)
        if self._do_transform:
            self.shifts = self.R.normal(0.0, self.sigma, self.shifts.shape)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        self.randomize()
        if not self._do_transform:
            return out
        grid = sampling_grid(self.shifts, out[self.first_key(out)].shape[1:])
        for key, mode in self.key_iterator(out, self.mode):
            volume = convert_to_tensor(out[key], dtype=torch.float32, track_meta=False)[None]
            warped = F.grid_sample(volume, grid, mode=mode, padding_mode="zeros", align_corners=True)[0]
            out[key] = convert_to_dst_type(warped, out[key])[0]
        return out


def sampling_grid(shifts: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Where ``grid_sample`` reads every voxel of a volume (D, H, W): (1, D, H, W, 3), x first, -1 to 1 inside.

    Args:
        shifts: of the nodes in voxels, (3, p, p, p), along D, H and W.
        shape: D, H, W.
    """
    nodes = torch.from_numpy(shifts).float()
    bases = [_spline_basis(n, nodes.shape[1]) for n in shape]
    scale = torch.tensor([2 / max(n - 1, 1) for n in shape])
    shift = torch.einsum("nabc,wc->wnab", nodes * scale.reshape(3, 1, 1, 1), bases[2])
    shift = torch.einsum("wnab,hb->hwna", shift, bases[1])
    grid = torch.einsum("hwna,da->dhwn", shift, bases[0])  # (D, H, W, 3)
    for axis, n in enumerate(shape):
        sides = [1, 1, 1]
        sides[axis] = n
        grid[..., axis] += torch.linspace(-1, 1, n).reshape(sides)
    return grid.flip(-1)[None]


def _spline_basis(voxels: int, points: int) -> Tensor:
    """(voxels, points): how much of each node's value every voxel of an axis has."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(points), np.eye(points), bc_type="natural")
    return torch.from_numpy(spline(np.linspace(0, points - 1, voxels))).float()
