"""V-Net for the left atrium (Milletari et al., 3DV 2016, doi 10.1109/3DV.2016.79), with optional attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Act
from torch import Tensor, nn

from common.networks.norm import norm_layer
from common.networks.sides import check_sides
from common.networks.vnet.attention import BottleneckAttention

__all__ = ["VNet"]

CHANNELS = (8, 16, 32, 64, 128)


class ConvUnit(nn.Sequential):
    """5x5x5 convolution, optional normalization, activation; keeps the size."""

    def __init__(
        self, in_channels: int, out_channels: int, *, dilation: int, act: str, norm: str | Sequence | None
    ) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv3d(in_channels, out_channels, 5, padding=2 * dilation, dilation=dilation))
        if norm is not None:
            self.add_module("norm", norm_layer(norm, out_channels))
        self.add_module("act", _activation(act, out_channels))


class ResampleUnit(nn.Sequential):
    """2x2x2 convolution with stride 2, down or up (transposed), optional normalization, activation."""

    def __init__(self, conv: nn.Module, *, act: str, norm: str | Sequence | None) -> None:
        super().__init__()
        self.add_module("conv", conv)
        if norm is not None:
            self.add_module("norm", norm_layer(norm, conv.out_channels))
        self.add_module("act", _activation(act, conv.out_channels))


class InputBlock(nn.Module):
    """C -> 8 channels; the input volume is added to each of the eight.

    That is the paper's block, for one channel. Several channels cannot be broadcast: a learned 1x1x1 convolution,
    ``project``, makes the eight maps of them that are added, as in a residual block whose channels change.
    """

    def __init__(
        self, in_channels: int, *, dilation: int, act: str, norm: str | Sequence | None, attention: nn.Module
    ) -> None:
        super().__init__()
        self.conv = ConvUnit(in_channels, CHANNELS[0], dilation=dilation, act=act, norm=norm)
        self.attention = attention
        self.project = nn.Conv3d(in_channels, CHANNELS[0], 1) if in_channels > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        features = self.attention(self.conv(x))
        shortcut = x if self.project is None else self.project(x)
        return features + shortcut.to(features.dtype)  # in mixed precision the volume would make float32 of all


class DownBlock(nn.Module):
    """Halve the size and double the channels, then a residual block of convolutions."""

    def __init__(
        self,
        channels: int,
        convolutions: int,
        *,
        dilation: int,
        act: str,
        norm: str | Sequence | None,
        attention: nn.Module,
    ) -> None:
        super().__init__()
        self.down = ResampleUnit(nn.Conv3d(channels // 2, channels, 2, stride=2), act=act, norm=norm)
        units = [ConvUnit(channels, channels, dilation=dilation, act=act, norm=norm) for _ in range(convolutions)]
        self.convs = nn.Sequential(*units)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        down = self.down(x)
        return self.attention(self.convs(down)) + down


class UpBlock(nn.Module):
    """Double the size, concatenate the encoder's features of that size, then a residual block of convolutions."""

    def __init__(
        self, in_channels: int, skip_channels: int, convolutions: int, *, act: str, norm: str | Sequence | None
    ) -> None:
        super().__init__()
        channels = 2 * skip_channels
        self.up = ResampleUnit(nn.ConvTranspose3d(in_channels, skip_channels, 2, stride=2), act=act, norm=norm)
        units = [ConvUnit(channels, channels, dilation=1, act=act, norm=norm) for _ in range(convolutions)]
        self.convs = nn.Sequential(*units)
        # Never used; kept so that checkpoints of the original map one to one.
        self.unused_act = _activation(act, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        cat = torch.cat([self.up(x), skip], dim=1)
        return self.convs(cat) + cat


class OutputBlock(nn.Sequential):
    """1x1x1 convolution to the logits, and an activation on the logits themselves, as in the original."""

    def __init__(self, out_channels: int, *, act: str) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv3d(2 * CHANNELS[0], out_channels, 1))
        self.add_module("act", _activation(act, out_channels))


class VNet(nn.Module):
    """V-Net with 8 to 128 channels and 5x5x5 convolutions.

    Differs from :class:`monai.networks.nets.VNet` (16 to 256 channels, batch normalization, dropout). Locator and
    segmenter of the left-atrium bundle are both this class. The number of 5x5x5 convolutions per level is
    ``num_layers`` in the first two resolutions and ``num_layers + 1`` in the others.

    Args:
        in_channels: channels of the volume. With one, the first block adds the volume to its eight feature maps, as in
            the paper; with several it adds a learned 1x1x1 projection of them.
        out_channels: number of logit maps.
        num_layers: n of the published variants, 1 (10.76 M parameters) or more (2: 16.2 M).
        act: ``"PRELU"`` with one slope per channel, or ``"ELU"``.
        conv_dilation: dilation of the encoder's 5x5x5 convolutions, in voxels of their level.
        attention: whether encoder levels end with :class:`~common.networks.BottleneckAttention`; needs batches of at
            least 2 in training.
        attention_reduction: channel reduction inside the gates.
        attention_dilation: dilation of the spatial gate's 3x3x3 convolutions.
        norm: normalization after each 5x5x5 and 2x2x2 convolution, as in MONAI (for example ``"instance"`` or
            ``["group", {"num_groups": 4}]``); none in the paper and by default.

    Shape:
        ``(B, in_channels, D, H, W)`` to logits ``(B, out_channels, D, H, W)``; D, H and W multiples of 16.

    Raises:
        ValueError: for fewer than one channel in or out, or sides that are no multiple of 16.

    Example::

        >>> net = VNet()
        >>> net(torch.zeros(1, 1, 48, 160, 160)).shape
        torch.Size([1, 1, 48, 160, 160])
    """

    size_divisor = 16
    __constants__ = ("size_divisor",)  # so that TorchScript sees it

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        num_layers: int = 1,
        act: str = "PRELU",
        conv_dilation: int = 1,
        attention: bool = False,
        attention_reduction: int = 4,
        attention_dilation: int = 4,
        norm: str | Sequence | None = None,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels) < 1:
            raise ValueError(f"VNet needs channels, got in_channels={in_channels} and out_channels={out_channels}")
        n = num_layers

        def gates(channels: int) -> nn.Module:
            if not attention:
                return nn.Identity()
            return BottleneckAttention(channels, reduction=attention_reduction, dilation=attention_dilation)

        encoder = {"dilation": conv_dilation, "act": act, "norm": norm}
        c = CHANNELS
        self.input = InputBlock(in_channels, attention=gates(c[0]), **encoder)
        self.down16 = DownBlock(c[1], n, attention=gates(c[1]), **encoder)
        self.down32 = DownBlock(c[2], n, attention=gates(c[2]), **encoder)
        self.down64 = DownBlock(c[3], n + 1, attention=gates(c[3]), **encoder)
        self.down128 = DownBlock(c[4], n + 1, attention=gates(c[4]), **encoder)
        self.up128 = UpBlock(c[4], c[3], n + 1, act=act, norm=norm)
        self.up64 = UpBlock(c[4], c[2], n + 1, act=act, norm=norm)
        self.up32 = UpBlock(c[3], c[1], n, act=act, norm=norm)
        self.up16 = UpBlock(c[2], c[0], n, act=act, norm=norm)
        self.output = OutputBlock(out_channels, act=act)
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, "VNet", self.size_divisor)
        x8 = self.input(x)  # (B, 8, D, H, W)
        x16 = self.down16(x8)  # (B, 16, D/2, H/2, W/2)
        x32 = self.down32(x16)
        x64 = self.down64(x32)
        x = self.down128(x64)  # (B, 128, D/16, H/16, W/16)
        x = self.up128(x, x64)  # (B, 128, D/8, H/8, W/8)
        x = self.up64(x, x32)
        x = self.up32(x, x16)
        x = self.up16(x, x8)  # (B, 16, D, H, W)
        return self.output(x)


def _activation(act: str, channels: int) -> nn.Module:
    if act.upper() == "PRELU":
        return nn.PReLU(channels)
    return Act[act.upper()]()


def _initialize(module: nn.Module) -> None:
    """Xavier-normal weights and zero bias for convolutions; the rest as torch initializes it (as the original does)."""
    if isinstance(module, nn.Conv3d):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
