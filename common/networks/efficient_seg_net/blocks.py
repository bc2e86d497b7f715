"""Residual blocks of EfficientSegNet (Zhang et al., 2021, arXiv 2109.10601) and of its ablation.

Kernels are (kz, ky, kx) of maps whose axes are (z, y, x). No convolution has a bias, no normalization has parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from common.networks.norm import InstanceNorm

__all__ = ["BLOCKS", "PLANES", "ConvNorm", "ConvNormReLU", "ResidualBlock", "initialize"]

Kernel = int | tuple[int, int, int]

DROPOUT = 0.2
BLOCKS = ("basic", "bottleneck", "depthwise_separable", "anisotropic")
# The kernel within the plane, and the one across it. The released networks take "sagittal": arrays there are (z, y, x),
# so that the paper's "intra-slice" 3x3x1 acts on z and y, not on an axial slice.
PLANES: dict[str, tuple[Kernel, Kernel]] = {
    "sagittal": ((3, 3, 1), (1, 1, 3)),
    "axial": ((1, 3, 3), (3, 1, 1)),
}


class ConvNorm(nn.Sequential):
    """Convolution without bias that keeps the size (divided by ``stride``), instance normalization."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Kernel = 3,
        *,
        stride: int = 1,
        separable: bool = False,
    ) -> None:
        super().__init__()
        make = _separable_conv if separable else _conv
        self.add_module("conv", make(in_channels, out_channels, kernel, stride))
        self.add_module("norm", InstanceNorm(out_channels, inplace=True))


class ConvNormReLU(ConvNorm):
    """:class:`ConvNorm`, then dropout of whole channels (0.2) and ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Kernel = 3,
        *,
        stride: int = 1,
        separable: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, separable=separable)
        self.add_module("dropout", nn.Dropout3d(DROPOUT, inplace=True))
        self.add_module("act", nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """``ReLU(main(x) + shortcut(x))``.

    The main path, by ``kind``:

    * ``"basic"``: 3x3x3, 3x3x3;
    * ``"bottleneck"``: 1x1x1 to a quarter of the channels, 3x3x3, 1x1x1 (He et al., CVPR 2016);
    * ``"depthwise_separable"``: twice, a 3x3x3 of every channel by itself, then 1x1x1 (Chollet, CVPR 2017);
    * ``"anisotropic"``: 3x3 within a plane, 3 across it.

    Every convolution but the last is followed by dropout and ReLU, and all by instance normalization.

    Args:
        in_channels: of the block's input.
        out_channels: of its output.
        kind: one of ``BLOCKS``.
        stride: of the first spatial convolution and of the shortcut.
        project: whether the shortcut is a 1x1x1 convolution with normalization; else it is the identity.
        plane: plane of the anisotropic kernel, a key of ``PLANES``.

    Raises:
        ValueError: for another kind or plane.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kind: str = "basic",
        stride: int = 1,
        project: bool = True,
        plane: str = "sagittal",
    ) -> None:
        super().__init__()
        if plane not in PLANES:
            raise ValueError(f"the plane is one of {', '.join(PLANES)}, got {plane!r}")
        a, b = in_channels, out_channels
        if kind == "basic":
            self.main = nn.Sequential(ConvNormReLU(a, b, stride=stride), ConvNorm(b, b))
        elif kind == "bottleneck":
            c = max(b // 4, 1)
            self.main = nn.Sequential(ConvNormReLU(a, c, 1), ConvNormReLU(c, c, stride=stride), ConvNorm(c, b, 1))
        elif kind == "depthwise_separable":
            first = ConvNormReLU(a, b, stride=stride, separable=True)
            self.main = nn.Sequential(first, ConvNorm(b, b, separable=True))
        elif kind == "anisotropic":
            within, across = PLANES[plane]
            self.main = nn.Sequential(ConvNormReLU(a, b, within, stride=stride), ConvNorm(b, b, across))
        else:
            raise ValueError(f"a block is one of {', '.join(BLOCKS)}, got {kind!r}")
        self.shortcut = ConvNorm(a, b, 1, stride=stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x).add_(self.shortcut(x)).relu_()


def initialize(network: nn.Module, *, dropout: float = DROPOUT) -> None:
    """Kaiming-normal weights (fan in, gain of ReLU) for every convolution, one probability for every dropout."""
    for module in network.modules():
        if isinstance(module, nn.Dropout3d):
            module.p = dropout
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def _conv(in_channels: int, out_channels: int, kernel: Kernel, stride: int, groups: int = 1) -> nn.Conv3d:
    sides = (kernel,) * 3 if isinstance(kernel, int) else kernel
    padding = tuple((side - 1) // 2 for side in sides)
    return nn.Conv3d(in_channels, out_channels, sides, stride=stride, padding=padding, groups=groups, bias=False)


def _separable_conv(in_channels: int, out_channels: int, kernel: Kernel, stride: int) -> nn.Sequential:
    depthwise = _conv(in_channels, in_channels, kernel, stride, groups=in_channels)
    return nn.Sequential(depthwise, _conv(in_channels, out_channels, 1, 1))
