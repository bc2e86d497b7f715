"""Residual 3-D U-Net that finds the organs' box on a coarse grid (Zhang et al., 2021, arXiv 2109.10601)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from common import kernels
from common.networks.efficient_seg_net.blocks import ConvNorm, ConvNormReLU, initialize
from common.networks.sides import check_sides

__all__ = ["ResidualUNet"]


class ResidualLevel(nn.Module):
    """``units`` residual units of two 3x3x3 convolutions each: ``ReLU(unit(x) + shortcut(x))``.

    The first shortcut is a 1x1x1 convolution with normalization, the others are the identity.
    """

    def __init__(self, in_channels: int, out_channels: int, *, units: int) -> None:
        super().__init__()
        inputs = [in_channels] + [out_channels] * (units - 1)
        self.units = nn.ModuleList(
            nn.Sequential(ConvNormReLU(i, out_channels), ConvNorm(out_channels, out_channels)) for i in inputs
        )
        self.shortcut = ConvNorm(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        for n, unit in enumerate(self.units):
            shortcut = self.shortcut(x) if n == 0 else x
            x = unit(x).add_(shortcut).relu_()
        return x


class ResidualUNet(nn.Module):
    """U-Net of residual levels: max pooling down, trilinear interpolation up, concatenated skips.

    The coarse network of EfficientSegNet: 2,676,480 parameters by default, and 100.19 GMAC for 160x160x160 voxels.

    Args:
        in_channels: channels of the volume.
        out_channels: number of logit maps, one for each organ (sigmoid); none for the background.
        channels: widths from the first level to the bottom, at least two.
        decoder_units: residual units in every level of the decoder; those of the encoder have two.
        dropout: probability that a channel is dropped in training, before every ReLU within a block; less for
            narrower networks.

    Shape:
        ``(B, in_channels, D, H, W)``, axes (z, y, x), to logits ``(B, out_channels, D, H, W)``; D, H and W multiples of
        ``2 ** (len(channels) - 1)`` (16 by default), and one of them at least twice that, because instance
        normalization takes no single voxel.

    Raises:
        ValueError: for other sides.

    Example::

        >>> net = ResidualUNet()
        >>> net(torch.zeros(1, 1, 160, 160, 160)).shape
        torch.Size([1, 4, 160, 160, 160])
    """

    __constants__ = ("size_divisor",)  # so that TorchScript sees it

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 4,
        *,
        channels: Sequence[int] = (8, 16, 32, 64, 128),
        decoder_units: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.size_divisor = 2 ** (len(channels) - 1)
        inputs = (in_channels, *channels[:-1])
        self.encoder = nn.ModuleList(ResidualLevel(i, o, units=2) for i, o in zip(inputs, channels, strict=True))
        self.pool = nn.MaxPool3d(3, stride=2, padding=1)
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        up = channels[::-1]
        self.decoder = nn.ModuleList(ResidualLevel(i + o, o, units=decoder_units) for i, o in pairwise(up))
        self.output = nn.Conv3d(channels[0], out_channels, 1, bias=False)
        initialize(self, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, "ResidualUNet", self.size_divisor, self.size_divisor, 2 * self.size_divisor)
        skips: list[Tensor] = []
        for depth, level in enumerate(self.encoder):
            x = level(self.pool(x) if depth > 0 else x)  # (B, channels[depth], D / 2^depth, ...)
            skips.append(x)
        x = skips.pop()  # the bottom
        for level in self.decoder:
            x = level(torch.cat([skips.pop(), kernels.dense_gradient(self.upsample(x))], dim=1))
        return self.output(x)
