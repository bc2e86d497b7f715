"""Context block at the bottom of EfficientSegNet: pyramid pooling and anisotropic pooling (arXiv 2109.10601)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.efficient_seg_net.blocks import ConvNorm, ConvNormReLU

__all__ = ["CONTEXTS", "ContextBlock"]

CONTEXTS = ("pyramid", "strip", "anisotropic_average", "anisotropic_max")
CUBES = (1, 2, 4)  # sides of the pyramid's cubes, in voxels of the map
# For z, y, x: the axes of (B, C, D, H, W) over which a strip is pooled, and the kernel over the axes that it keeps.
AVERAGED = (((3, 4), (3, 1, 1)), ((2, 4), (1, 3, 1)), ((2, 3), (1, 1, 3)))  # profiles along one axis
MAXIMIZED = (((2,), (1, 3, 3)), ((3,), (3, 1, 3)), ((4,), (3, 3, 1)))  # projections along one axis


class ContextBlock(nn.Module):
    """Look at the map through cubes (pyramid pooling) and through strips (anisotropic pooling), and add what was seen.

    Strips go over whole axes, so that the block takes a map of any size; the released code's strips are as long as
    the map that it was built for, which there is the same.

    Args:
        channels: of input and output; inside there are a quarter of them.
        kind: ``"anisotropic_average"``, the published block: averages over cubes of 1, 2 and 4 voxels, and over two
            axes; ``"anisotropic_max"``: maxima over the same cubes, and over the two halves of one axis;
            ``"pyramid"``: averages over cubes alone; ``"strip"``: averages over two axes alone.

    Shape:
        ``(B, channels, D, H, W)`` to the same; every side at least ``smallest_side``, one at least ``longest_side``,
        because instance normalization takes no single voxel.

    Raises:
        ValueError: for another kind.
    """

    def __init__(self, channels: int, *, kind: str = "anisotropic_average") -> None:
        super().__init__()
        if kind not in CONTEXTS:
            raise ValueError(f"context is one of {', '.join(CONTEXTS)}, or null for none, got {kind!r}")
        cubes, strips = kind != "strip", kind != "pyramid"
        self.smallest_side, self.longest_side = (CUBES[-1], 2 * CUBES[-1]) if cubes else (2, 2)
        self.maximum = kind == "anisotropic_max"
        axes, kernels = zip(*(MAXIMIZED if self.maximum else AVERAGED), strict=True)
        self.strip_axes = [list(pooled) for pooled in axes]
        self.cube_sides = list(CUBES)
        c = max(channels // 4, 1)
        self.reduce = ConvNormReLU(channels, c, 1)
        self.cube_input = ConvNormReLU(c, c, 1) if cubes else None
        self.strip_input = ConvNormReLU(c, c, 1) if strips else None
        self.cubes = nn.ModuleList(ConvNorm(c, c) for _ in CUBES) if cubes else None
        self.strips = nn.ModuleList(ConvNorm(c, c, kernel) for kernel in kernels) if strips else None
        self.cube_output = ConvNormReLU(c, c) if cubes else None
        self.strip_output = ConvNormReLU(c, c) if strips else None
        self.merge = ConvNorm(c * (cubes + strips), c, 1)
        self.expand = nn.Sequential(ConvNormReLU(c, c), nn.Conv3d(c, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)  # (B, c, D, H, W)
        branches: list[Tensor] = []
        if self.cube_input is not None:
            branches.append(self.cube_output(self._cubes(self.cube_input(x))))
        if self.strip_input is not None:
            branches.append(self.strip_output(self._strips(self.strip_input(x))))
        return self.expand(self.merge(torch.cat(branches, dim=1)).add_(x).relu_())

    def _cubes(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for n, cube in enumerate(self.cubes):
            side = self.cube_sides[n]
            pooled = F.max_pool3d(x, side) if self.maximum else F.avg_pool3d(x, side)  # (B, c, D / side, ...)
            seen.append(_resized_like(x, cube(pooled)))
        return (seen[0] + seen[1] + seen[2]).relu_()

    def _strips(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for n, strip in enumerate(self.strips):
            axes = self.strip_axes[n]
            if self.maximum:
                halves = [half.amax(axes, keepdim=True) for half in x.chunk(2, axes[0])]
                pooled = torch.cat(halves, dim=axes[0])  # such as (B, c, 2, H, W)
            else:
                pooled = x.mean(axes, keepdim=True)  # such as (B, c, D, 1, 1)
            seen.append(_resized_like(x, strip(pooled)))
        return (seen[0] + seen[1] + seen[2]).relu_()


def _resized_like(x: Tensor, pooled: Tensor) -> Tensor:
    """Trilinear interpolation with aligned corners; a side of one voxel is repeated."""
    return F.interpolate(pooled, size=x.shape[2:], mode="trilinear", align_corners=True)
