"""EfficientSegNet, the network that won FLARE 2021 (Zhang et al., 2021, arXiv 2109.10601)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from common import kernels
from common.networks.efficient_seg_net.blocks import ConvNormReLU, ResidualBlock, initialize
from common.networks.efficient_seg_net.context import ContextBlock
from common.networks.sides import check_sides

__all__ = ["EfficientSegNet"]

FUSIONS = ("add", "concatenate")


class EfficientSegNet(nn.Module):
    """Residual encoder, context block at the bottom, slim decoder of anisotropic blocks, added skips.

    9,366,016 parameters by default, and 357.66 GMAC for 192x192x192 voxels. Every choice of the paper's ablation is an
    argument; the defaults are the published network.

    Args:
        in_channels: channels of the volume.
        out_channels: number of logit maps, one for each organ (sigmoid); none for the background.
        channels: widths from the first level to the bottom, at least two; strides halve the volume between them.
        encoder_blocks: residual blocks in every level of the encoder, from the first level to the bottom; two each by
            default.
        decoder_blocks: blocks in every level of the decoder, from the first level, without the bottom; one each by
            default.
        encoder_block: kind of the encoder's blocks: ``"basic"``, ``"bottleneck"``, ``"depthwise_separable"`` or
            ``"anisotropic"``, see :class:`~common.networks.efficient_seg_net.blocks.ResidualBlock`.
        decoder_block: kind of the decoder's blocks.
        context: kind of the context block: ``"anisotropic_average"``, ``"anisotropic_max"``, ``"pyramid"``,
            ``"strip"``, see :class:`~common.networks.efficient_seg_net.context.ContextBlock`; None for none.
        fusion: ``"add"``: reduce the channels, upsample, add the encoder's map; ``"concatenate"``: upsample,
            concatenate.
        plane: plane of the anisotropic kernels: ``"sagittal"`` as released, or ``"axial"``, what the paper describes.
        dropout: probability that a channel is dropped in training, before every ReLU within a block; less for
            narrower networks.

    Shape:
        ``(B, in_channels, D, H, W)``, axes (z, y, x), to logits ``(B, out_channels, D, H, W)``. Sides are multiples of
        ``n = 2 ** (len(channels) - 1)`` (16 by default), at least ``4 n`` and one of them at least ``8 n`` (64 and 128
        by default); with ``context`` ``"strip"`` at least ``2 n``; without one, one of them at least ``2 n``.

    Raises:
        ValueError: for other sides, kinds, or numbers of levels.

    Example::

        >>> net = EfficientSegNet()
        >>> net(torch.zeros(1, 1, 192, 192, 192)).shape
        torch.Size([1, 4, 192, 192, 192])
    """

    __constants__ = ("adds", "longest_side", "size_divisor", "smallest_side")  # so that TorchScript sees them

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 4,
        *,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        encoder_blocks: Sequence[int] | None = None,
        decoder_blocks: Sequence[int] | None = None,
        encoder_block: str = "basic",
        decoder_block: str = "anisotropic",
        context: str | None = "anisotropic_average",
        fusion: str = "add",
        plane: str = "sagittal",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is one of {', '.join(FUSIONS)}, got {fusion!r}")
        self.adds = fusion == "add"
        levels = len(channels)
        encoder_blocks = _per_level(encoder_blocks or [2] * levels, levels, "encoder_blocks")
        decoder_blocks = _per_level(decoder_blocks or [1] * (levels - 1), levels - 1, "decoder_blocks")

        def blocks_of(inputs: int, outputs: int, *, blocks: int, kind: str, stride: int = 1) -> nn.Sequential:
            first = ResidualBlock(inputs, outputs, kind=kind, plane=plane, stride=stride)
            others = [ResidualBlock(outputs, outputs, kind=kind, plane=plane, project=False) for _ in range(blocks - 1)]
            return nn.Sequential(first, *others)

        self.encoder = nn.ModuleList()
        for level, (i, o) in enumerate(zip((in_channels, *channels), channels, strict=False)):
            stride = 1 if level == 0 else 2
            self.encoder.append(blocks_of(i, o, blocks=encoder_blocks[level], kind=encoder_block, stride=stride))
        self.context = nn.Identity() if context is None else ContextBlock(channels[-1], kind=context)
        self.size_divisor = 2 ** (levels - 1)
        self.smallest_side = self.size_divisor * (1 if context is None else self.context.smallest_side)
        self.longest_side = self.size_divisor * (2 if context is None else self.context.longest_side)

        up = list(pairwise(channels[::-1]))  # (256, 128), ...
        self.reduce = nn.ModuleList(ConvNormReLU(i, o, 1) if self.adds else nn.Identity() for i, o in up)
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        self.decoder = nn.ModuleList(
            blocks_of(o if self.adds else i + o, o, blocks=blocks, kind=decoder_block)
            for (i, o), blocks in zip(up, decoder_blocks[::-1], strict=True)
        )
        self.output = nn.Conv3d(channels[0], out_channels, 1, bias=False)
        initialize(self, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, "EfficientSegNet", self.size_divisor, self.smallest_side, self.longest_side)
        skips: list[Tensor] = []
        for level in self.encoder:
            x = level(x)  # (B, channels[n], D / 2^n, ...)
            skips.append(x)
        x = self.context(skips.pop())
        for reduce, level in zip(self.reduce, self.decoder, strict=True):
            x = self.upsample(reduce(x))
            x = x.add_(skips.pop()) if self.adds else torch.cat([skips.pop(), kernels.dense_gradient(x)], dim=1)
            x = level(x)
        return self.output(x)


def _per_level(blocks: Sequence[int], levels: int, name: str) -> list[int]:
    if len(blocks) != levels or min(blocks) < 1:
        raise ValueError(f"{name}: expected {levels} numbers of at least 1, one for each level, got {list(blocks)}")
    return list(blocks)
