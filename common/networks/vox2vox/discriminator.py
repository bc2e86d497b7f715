"""Vox2Vox's discriminator: judges, region by region, whether a segmentation belongs to a volume."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.networks.sides import check_sides
from common.networks.vox2vox.generator import SIDE, ConvBlock, SameSizeConv, initialize, style_of

__all__ = ["Vox2VoxDiscriminator"]

LEAST_SIDE = 32


class Vox2VoxDiscriminator(nn.Module):
    """Patch discriminator of the pair (segmentation, volume), of 4x4x4 convolutions; its scores have no activation.

    ============  ====================================  ==========================  ===========  ================
    variant       layers                                scores for sides of n, 128  leaky slope  dropout of 0.2
    ============  ====================================  ==========================  ===========  ================
    paper         four of stride 2, one of stride 1     n / 16: 8x8x8               0.3          none
    tensorflow    three of stride 2, two of stride 1    n / 8 - 2: 14x14x14         0.3          first three
    pytorch       four of stride 2, one of stride 1     n / 16: 8x8x8               0.2          none
    ============  ====================================  ==========================  ===========  ================

    "paper" is the early version of the authors' code, "tensorflow" the last one, "pytorch" that of the article. For
    four channels and four maps they have 11,078,337, 11,078,337 and 11,076,544 parameters with a width of 64.

    Args:
        in_channels: channels of the volume.
        maps: channels of the segmentation.
        variant: ``"paper"``, ``"tensorflow"`` or ``"pytorch"``.
        width: channels w of the first block; the others have 2 w, 4 w and 8 w.

    Shape:
        segmentation ``(B, maps, D, H, W)`` and volume ``(B, in_channels, D, H, W)`` to scores ``(B, 1, d, h, w)``,
        near 1 for pairs taken to be real, near 0 for others; D, H and W multiples of 16, at least 32.

    Raises:
        ValueError: for other sides, or an unknown variant.

    Example::

        >>> net = Vox2VoxDiscriminator(width=8)
        >>> net(torch.zeros(1, 4, 128, 128, 128), torch.zeros(1, 4, 128, 128, 128)).shape
        torch.Size([1, 1, 8, 8, 8])
    """

    def __init__(self, in_channels: int = 4, maps: int = 4, *, variant: str = "paper", width: int = 64) -> None:
        super().__init__()
        style = style_of(variant)
        w = width
        block = {"dropout": style.dropout, "bias": True}
        self.block1 = ConvBlock(maps + in_channels, w, style, norm=False, **block)
        self.block2 = ConvBlock(w, 2 * w, style, **block)
        self.block3 = ConvBlock(2 * w, 4 * w, style, **block)
        if variant == "tensorflow":
            self.block4 = ConvBlock(4 * w, 8 * w, style, stride=1, bias=True)  # side n - 1
            self.output = nn.Conv3d(8 * w, 1, SIDE, padding=1)  # n - 2
        else:
            self.block4 = ConvBlock(4 * w, 8 * w, style, **block)
            published = variant == "pytorch"  # two planes in front, one behind, and no bias
            self.output = SameSizeConv(8 * w, 1, front=2 if published else 1, bias=not published)
        initialize(self, variant)

    def forward(self, segmentation: Tensor, volume: Tensor) -> Tensor:
        check_sides(volume, "Vox2VoxDiscriminator", 16, LEAST_SIDE)
        x = torch.cat([segmentation, volume], dim=1)
        return self.output(self.block4(self.block3(self.block2(self.block1(x)))))
