"""Vox2Vox's generator (Cirillo, Abramian and Eklund, BrainLes 2020, arXiv 2003.13653) and its published variants."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import kernels
from common.networks.norm import InstanceNorm
from common.networks.sides import check_sides

__all__ = ["Vox2VoxGenerator"]

SIDE = 4  # of every kernel
DROPOUT = 0.2


class Style(NamedTuple):
    """What the layers of a variant have in common."""

    slope: float  # of the leaky ReLU
    decoder_slope: float  # 0 for ReLU
    bias: bool
    affine: bool  # of the instance normalization: learned scale and shift
    eps: float  # of the instance normalization
    dropout: float  # outside the bottleneck


STYLES = {
    "paper": Style(slope=0.3, decoder_slope=0.3, bias=True, affine=True, eps=1e-3, dropout=0.0),
    "tensorflow": Style(slope=0.3, decoder_slope=0.3, bias=True, affine=True, eps=1e-3, dropout=DROPOUT),
    "pytorch": Style(slope=0.2, decoder_slope=0.0, bias=False, affine=False, eps=1e-5, dropout=0.0),
}
ACTIVATIONS = {"softmax": lambda: nn.Softmax(dim=1), "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def style_of(variant: str) -> Style:
    """The style of ``variant``, or a ValueError that names those there are."""
    if variant not in STYLES:
        raise ValueError(f"variant must be one of {', '.join(STYLES)}, got {variant!r}")
    return STYLES[variant]


def instance_norm(channels: int, style: Style, *, inplace: bool = True) -> InstanceNorm:
    """Instance normalization without running statistics."""
    return InstanceNorm(channels, eps=style.eps, affine=style.affine, inplace=inplace)


class ConvBlock(nn.Sequential):
    """4x4x4 convolution (stride 2 halves the side), optional instance normalization, leaky ReLU, optional dropout."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style: Style,
        *,
        stride: int = 2,
        bias: bool | None = None,
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        bias = style.bias if bias is None else bias
        self.add_module("conv", nn.Conv3d(in_channels, out_channels, SIDE, stride=stride, padding=1, bias=bias))
        if norm:
            self.add_module("norm", instance_norm(out_channels, style))
        self.add_module("act", nn.LeakyReLU(style.slope, inplace=True))
        if dropout:
            self.add_module("dropout", nn.Dropout(dropout))


class SameSizeConv(nn.Conv3d):
    """4x4x4 convolution that keeps the size: three planes of zeros per axis, ``front`` of them before the volume.

    One in front is TensorFlow's "same" padding.
    """

    def __init__(self, in_channels: int, out_channels: int, *, front: int = 1, bias: bool) -> None:
        super().__init__(in_channels, out_channels, SIDE, bias=bias)
        self.planes = [front, 3 - front] * 3

    def forward(self, x: Tensor) -> Tensor:
        return kernels.conv3d(F.pad(x, self.planes), self.weight, self.bias)


class SelfConcatConv(nn.Conv3d):
    """Convolution of the input concatenated with itself.

    Computed as the convolution of the input with the sum of the kernel's two halves: the same function with half the
    multiplications.
    """

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.unflatten(1, (2, x.shape[1])).sum(dim=1)
        return kernels.conv3d(x, kernel, self.bias, padding=self.padding[0])


class UpBlock(nn.Module):
    """Double the side, then concatenate the encoder's features of that size."""

    def __init__(self, in_channels: int, out_channels: int, style: Style) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(in_channels, out_channels, SIDE, stride=2, padding=1, bias=style.bias)
        self.norm = instance_norm(out_channels, style)
        self.act = nn.LeakyReLU(style.decoder_slope, inplace=True)
        self.dropout = nn.Dropout(style.dropout) if style.dropout else nn.Identity()

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.dropout(torch.cat([self.act(self.norm(self.conv(x))), skip], dim=1))


class PaperBottleneck(nn.Module):
    """Each block reads its predecessor's input and output: y1 = B1(x), y2 = B2([x, y1]), y3 = B3([y1, y2]), ..."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.out_channels = channels
        self.b1 = self._block(channels, channels, style)
        self.b2 = self._block(2 * channels, channels, style)
        self.b3 = self._block(2 * channels, channels, style)
        self.b4 = self._block(2 * channels, channels, style)

    @staticmethod
    def _block(in_channels: int, out_channels: int, style: Style) -> nn.Module:
        block = nn.Sequential()
        block.add_module("conv", SameSizeConv(in_channels, out_channels, bias=style.bias))
        block.add_module("norm", instance_norm(out_channels, style))
        block.add_module("act", nn.LeakyReLU(style.slope, inplace=True))
        block.add_module("dropout", nn.Dropout(DROPOUT))
        return block

    def forward(self, x: Tensor) -> Tensor:  # (B, C, d, h, w), and so is every y
        y1 = self.b1(x)
        y2 = self.b2(torch.cat([x, y1], dim=1))
        y3 = self.b3(torch.cat([y1, y2], dim=1))
        return self.b4(torch.cat([y2, y3], dim=1))


class ActivatedAndRaw(nn.Module):
    """A convolution's output, normalized and activated, concatenated with itself as it is."""

    def __init__(self, in_channels: int, out_channels: int, style: Style) -> None:
        super().__init__()
        self.conv = SameSizeConv(in_channels, out_channels, bias=style.bias)
        self.norm = instance_norm(out_channels, style, inplace=False)
        self.act = nn.LeakyReLU(style.slope, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([self.act(self.norm(y)), y], dim=1)


class TensorFlowBottleneck(nn.Sequential):
    """The authors' code: each block passes on its convolution's output, activated and raw; 2 C channels."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.out_channels = 2 * channels
        for n in (1, 2, 3, 4):
            self.add_module(f"b{n}", ActivatedAndRaw(channels if n == 1 else 2 * channels, channels, style))


class PyTorchBottleneck(nn.Sequential):
    """The article's code: each block reads its input twice, loses a plane and gets one of zeros in front; C / 2 out."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.out_channels = channels // 2
        for n in (1, 2, 3, 4):
            self.add_module(f"b{n}", self._block(channels, channels if n < 4 else channels // 2, style))

    @staticmethod
    def _block(in_channels: int, out_channels: int, style: Style) -> nn.Module:
        block = nn.Sequential()
        block.add_module("conv", SelfConcatConv(2 * in_channels, out_channels, SIDE, padding=1, bias=style.bias))
        block.add_module("norm", instance_norm(out_channels, style))  # side n - 1
        block.add_module("act", nn.LeakyReLU(style.slope, inplace=True))
        block.add_module("dropout", nn.Dropout(DROPOUT))
        block.add_module("pad", nn.ZeroPad3d((1, 0, 1, 0, 1, 0)))
        return block


BOTTLENECKS = {"paper": PaperBottleneck, "tensorflow": TensorFlowBottleneck, "pytorch": PyTorchBottleneck}


class Vox2VoxGenerator(nn.Module):
    """U-shaped generator: four strided convolutions, four bottleneck blocks, four transposed convolutions.

    Kernels are 4x4x4, normalization is by instance. The variants differ in more than the bottleneck:

    ============  =====================================  =========  =====  ================  =======================
    variant       bottleneck (input x, 8 w channels)     output     bias   leaky slope       dropout of 0.2
    ============  =====================================  =========  =====  ================  =======================
    paper         reads predecessor's input and output   8 w        yes    0.3               bottleneck
    tensorflow    activated and raw output concatenated  16 w       yes    0.3               encoder, decoder
    pytorch       reads the predecessor's output twice   4 w        no     0.2, decoder 0    bottleneck
    ============  =====================================  =========  =====  ================  =======================

    "paper" takes from the text and the figure what they say, and its layers' details from the authors' code
    ("tensorflow"); "pytorch" is the code of the article on it, kept exactly for weights trained with that. With four
    channels in and out and a width of 64 they have 142,141,444, 150,530,052 and 137,936,900 parameters.

    Weights start as normal numbers, of standard deviation 0.02 ("pytorch") or sqrt(2 / fan-in), biases as zeros.

    Args:
        in_channels: channels of the volume.
        out_channels: maps to generate.
        variant: ``"paper"``, ``"tensorflow"`` or ``"pytorch"``.
        width: channels w of the first block, 64 in the paper; the others have 2 w, 4 w and 8 w.
        activation: of the output: ``"softmax"`` over the maps, ``"sigmoid"``, or ``"tanh"`` (as "pytorch" had) for
            labels of -1 and 1.

    Shape:
        ``(B, in_channels, D, H, W)`` to ``(B, out_channels, D, H, W)``, float32, within 0 to 1 (``"tanh"``: -1 to 1);
        D, H and W multiples of 16, at least 32 (``"pytorch"``: 48), because one voxel cannot be normalized.

    Raises:
        ValueError: for other sides, an unknown variant or activation, or a softmax over one map.

    Example::

        >>> net = Vox2VoxGenerator(width=8)
        >>> net(torch.zeros(1, 4, 128, 128, 128)).shape
        torch.Size([1, 4, 128, 128, 128])
    """

    size_divisor = 16
    __constants__ = ("size_divisor",)  # so that TorchScript sees it

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        *,
        variant: str = "paper",
        width: int = 64,
        activation: str = "softmax",
    ) -> None:
        super().__init__()
        style = style_of(variant)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if activation == "softmax" and out_channels == 1:
            raise ValueError("a softmax over one map is 1 everywhere: use activation sigmoid, or two maps")
        self.least_side = 48 if variant == "pytorch" else 32
        w = width
        self.down1 = ConvBlock(in_channels, w, style, norm=False, dropout=style.dropout)
        self.down2 = ConvBlock(w, 2 * w, style, dropout=style.dropout)
        self.down3 = ConvBlock(2 * w, 4 * w, style, dropout=style.dropout)
        self.down4 = ConvBlock(4 * w, 8 * w, style)
        self.bottleneck = BOTTLENECKS[variant](8 * w, style)
        self.up1 = UpBlock(self.bottleneck.out_channels, 4 * w, style)
        self.up2 = UpBlock(8 * w, 2 * w, style)
        self.up3 = UpBlock(4 * w, w, style)
        self.output = nn.ConvTranspose3d(2 * w, out_channels, SIDE, stride=2, padding=1)
        self.activation = ACTIVATIONS[activation]()
        initialize(self, variant)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, "Vox2VoxGenerator", self.size_divisor, self.least_side)
        skip1 = self.down1(x)  # (B, w, D/2, H/2, W/2)
        skip2 = self.down2(skip1)
        skip3 = self.down3(skip2)  # (B, 4 w, D/8, H/8, W/8)
        x = self.bottleneck(self.down4(skip3))  # (B, 8 w (16 w, 4 w), D/16, H/16, W/16)
        x = self.up1(x, skip3)  # (B, 8 w, D/8, H/8, W/8)
        x = self.up2(x, skip2)
        x = self.up3(x, skip1)  # (B, 2 w, D/2, H/2, W/2)
        logits = self.output(x).float()
        return kernels.stored_like(self.activation(logits), logits)


def initialize(network: nn.Module, variant: str) -> None:
    """Weights of convolutions N(0, 0.02) for "pytorch", else N(0, 2 / fan-in); biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            if variant == "pytorch":
                nn.init.normal_(module.weight, std=0.02)
            else:
                nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
