"""Encoders of OSS-Net: the scan at half resolution becomes one latent code, or six and a coarse segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import kernels
from common.networks.oss_net.activation import PadeActivation

__all__ = ["PlainEncoder", "ResidualBlock", "SkipEncoder"]

SLAB = 2**19  # voxels that a block works on at a time in inference


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions around an average pooling, plus a 1 x 1 x 1 convolution with pooling; halves the size.

    Where no gradient is wanted, a large input is worked on slab by slab, so that the memory for intermediate results
    does not grow with it; the result is the same.

    Shape:
        ``(B, in_channels, D, H, W)`` to ``(B, out_channels, D // 2, H // 2, W // 2)``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm3d(out_channels)
        self.act1 = PadeActivation()
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm3d(out_channels)
        self.skip = nn.Conv3d(in_channels, out_channels, 1, bias=False)
        self.act = PadeActivation()

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():
            return self.whole(x)
        return self.whole(x) if self.training or kernels.recording() else self.by_slabs(x)

    def whole(self, x: Tensor) -> Tensor:
        """The block on all of ``x``."""
        main = F.avg_pool3d(self.act1(self.norm1(self.conv1(x))), 2)
        return self.act(self.norm2(self.conv2(main)) + F.avg_pool3d(self.skip(x), 2))

    def by_slabs(self, x: Tensor) -> Tensor:
        """The block on slabs across the first axis, with the four voxels beside a slab that its result depends on."""
        depth = x.shape[2] // 2
        rows = max(1, SLAB // (4 * math.prod(x.shape[3:]) // 2))
        if rows >= depth:
            return self.whole(x)
        done = []
        for start in range(0, depth, rows):
            end = min(start + rows, depth)
            first, last = max(start - 2, 0), min(end + 2, depth)
            # 2 * depth: an odd last voxel is no part of a pooled one, but of its neighbor's convolution
            stop = x.shape[2] if last == depth else 2 * last
            done.append(self.whole(x[:, :, 2 * first : stop])[:, :, start - first : end - first])
        return torch.cat(done, dim=2)


class PlainEncoder(nn.Module):
    """Encoder of O-Net and of OSS-Net A and B: residual blocks, and one latent code from the last of them.

    Args:
        in_channels: of the scan.
        channels: of the blocks.
        low_shape: sides of the last block's output, which are those of the input divided by 2 for each block.

    Shape:
        ``(B, in_channels, D, H, W)`` to latents ``(B, 1, L)``, with L the number of voxels in ``low_shape``; no
        segmentation.

    Raises:
        ValueError: for inputs of another size.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], low_shape: Sequence[int]) -> None:
        super().__init__()
        self.low_shape = list(low_shape)
        self.blocks = _blocks(in_channels, channels)
        self.latent = _ConvNormAct(channels[-1], 1, bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        for block in self.blocks:
            x = block(x)
        if list(x.shape[2:]) != self.low_shape:
            raise ValueError(
                f"the plain encoder needs an input that becomes {self.low_shape}, this one became {list(x.shape[2:])}: "
                "resize the volume, or take a variant with skips (C, D)"
            )
        return self.latent(x).flatten(2), None


class SkipEncoder(nn.Module):
    """Encoder of OSS-Net C and D: every block adds to the latent codes, and the last one gives a coarse segmentation.

    Args:
        in_channels: of the scan.
        channels: of the blocks.
        low_shape: to which the blocks' outputs are pooled (maximum) for the latent codes.
        codes: R, number of latent codes.
        out_channels: K of the segmentation.

    Shape:
        ``(B, in_channels, D, H, W)``, of any size from 2 per block on, to latents ``(B, R, L)``, with L the number of
        voxels in ``low_shape``, and logits ``(B, K, d, h, w)`` of the last block's size.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], low_shape: Sequence[int], *, codes: int, out_channels: int
    ) -> None:
        super().__init__()
        self.low_shape = list(low_shape)
        self.blocks = _blocks(in_channels, channels)
        self.skips = nn.ModuleList(_ConvNormAct(c, c // 2, bias=False) for c in channels)
        self.latent = _ConvNormAct(sum(c // 2 for c in channels), codes, bias=True)
        self.segmentation = nn.Conv3d(channels[-1], out_channels, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        pooled: list[Tensor] = []
        for block, skip in zip(self.blocks, self.skips):  # noqa: B905 - TorchScript knows no strict
            x = block(x)
            pooled.append(skip(kernels.adaptive_max_pool3d(x, self.low_shape)))
        return self.latent(torch.cat(pooled, dim=1)).flatten(2), self.segmentation(x)


class _ConvNormAct(nn.Sequential):
    """5 x 5 x 5 convolution, batch normalization, activation."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv3d(in_channels, out_channels, 5, padding=2, bias=bias))
        self.add_module("norm", nn.BatchNorm3d(out_channels))
        self.add_module("act", PadeActivation())


def _blocks(in_channels: int, channels: Sequence[int]) -> nn.ModuleList:
    inputs = (in_channels, *channels[:-1])
    return nn.ModuleList(ResidualBlock(i, o) for i, o in zip(inputs, channels, strict=True))
