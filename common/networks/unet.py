"""3-D U-Net (Çiçek et al., MICCAI 2016, arXiv 1606.06650) of half the usual width, with interpolated upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from common import kernels
from common.networks.norm import norm_layer
from common.networks.sides import check_sides

__all__ = ["UNet3d"]


class DoubleConv(nn.Sequential):
    """Twice: 3x3x3 convolution with bias, optional normalization, ReLU; keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str | Sequence | None) -> None:
        super().__init__()
        for i, channels in enumerate((in_channels, out_channels), start=1):
            self.add_module(f"conv{i}", nn.Conv3d(channels, out_channels, 3, padding=1))
            if norm is not None:
                self.add_module(f"norm{i}", norm_layer(norm, out_channels))
            self.add_module(f"act{i}", nn.ReLU(inplace=True))


class UNet3d(nn.Module):
    """3-D U-Net: double convolutions, max pooling, upsampling without weights, concatenated skips, no dropout.

    Differs from :class:`monai.networks.nets.UNet` (residual units, strided and transposed convolutions) and
    :class:`monai.networks.nets.BasicUNet` (normalization, leaky ReLU, dropout, one level more). 5,836,099 parameters
    by default, initialized as torch does. Training and evaluation mode compute the same unless ``norm`` is a batch
    normalization.

    Args:
        in_channels: channels of the volume.
        out_channels: number of logit maps; background, liver, tumor by default.
        channels: widths from the first level to the bottom, at least two.
        upsample: ``"trilinear"`` (corners not aligned) or ``"nearest"``, by a factor of two.
        norm: normalization after each 3x3x3 convolution, as in MONAI (for example ``"instance"`` or
            ``["group", {"num_groups": 4}]``); none in the description and by default.

    Shape:
        ``(B, in_channels, D, H, W)`` to logits ``(B, out_channels, D, H, W)``; D, H and W multiples of
        ``2 ** (len(channels) - 1)``, 8 by default.

    Raises:
        ValueError: for sides that are no such multiple.

    Example::

        >>> net = UNet3d()
        >>> net(torch.zeros(1, 1, 96, 96, 96)).shape
        torch.Size([1, 3, 96, 96, 96])
    """

    __constants__ = ("size_divisor",)  # so that TorchScript sees it

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 3,
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        upsample: str = "trilinear",
        norm: str | Sequence | None = None,
    ) -> None:
        super().__init__()
        self.size_divisor = 2 ** (len(channels) - 1)
        inputs = (in_channels, *channels[:-1])
        self.encoder = nn.ModuleList(DoubleConv(i, o, norm=norm) for i, o in zip(inputs, channels, strict=True))
        self.pool = nn.MaxPool3d(2)
        self.upsample = nn.Upsample(
            scale_factor=2, mode=upsample, align_corners=False if upsample == "trilinear" else None
        )
        up = channels[::-1]
        self.decoder = nn.ModuleList(DoubleConv(i + o, o, norm=norm) for i, o in pairwise(up))
        self.output = nn.Conv3d(channels[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, "UNet3d", self.size_divisor)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level > 0 else x)  # (B, channels[level], D / 2^level, ...)
            skips.append(x)
        x = skips.pop()  # the bottom
        for block in self.decoder:
            x = block(torch.cat([kernels.dense_gradient(self.upsample(x)), skips.pop()], dim=1))
        return self.output(x)
