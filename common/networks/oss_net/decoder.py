"""Decoder of OSS-Net: points, their surroundings and the latent codes become occupancies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from common import kernels
from common.networks.oss_net.activation import PadeActivation
from common.networks.oss_net.conditional_norm import ConditionalBatchNorm
from common.networks.oss_net.observations import PATCH

__all__ = ["Decoder", "DecoderBlock", "PatchEncoder"]

FEATURES = PATCH**3


class PatchConv(nn.Conv3d):
    """7 x 7 x 7 convolution with padding 3 of 7 x 7 x 7 patches.

    Shape:
        ``(N, in_channels * 343)`` to ``(N, out_channels * 343)``, patches flattened.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, PATCH, padding=PATCH // 2)
        self.register_buffer("index", kernels.patch_conv_index(PATCH), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias
        assert bias is not None
        return kernels.patch_conv(x, self.weight, bias, self.index)


class PatchEncoder(nn.Module):
    """Two 7 x 7 x 7 convolutions turn a point's surroundings into 343 features.

    Shape:
        ``(N, in_channels, 7, 7, 7)`` to ``(N, 343)``.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        hidden = max(in_channels // 2, 1)
        self.conv1 = PatchConv(in_channels, hidden)
        self.act1 = PadeActivation()
        self.conv2 = PatchConv(hidden, 1)
        self.act2 = PadeActivation()

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(self.act1(self.conv1(x.flatten(1)))))


class DecoderBlock(nn.Module):
    """Residual block of the decoder; two linear layers, each followed by a conditional normalization.

    Shape:
        the first linear layer's and the shortcut's results for the block's input, ``(B, N, width)`` each, and a latent
        code ``(B, L)``, to ``(B, N, width)``.
    """

    def __init__(self, in_features: int, width: int, latent_length: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_features, width)
        self.norm1 = ConditionalBatchNorm(latent_length, width)
        self.act1 = PadeActivation()
        self.linear2 = nn.Linear(width, width)
        self.norm2 = ConditionalBatchNorm(latent_length, width)
        self.act = PadeActivation()

    def forward(self, first: Tensor, shortcut: Tensor, latent: Tensor) -> Tensor:
        second = self.linear2(self.act1(self.norm1(first, latent)))
        h = self.norm2(second, latent) + shortcut
        return self.act(h.to(second.dtype))  # in mixed precision the first block's shortcut is float32


class Decoder(nn.Module):
    """Five residual blocks; the first takes coordinates, patch features and a latent code in one vector.

    The latent code is the same for all points of a case, so its part of the first linear layers is computed once for
    each case instead of once for each point, and the concatenated vectors are never made. The coordinates' part is
    computed in float32 always: bfloat16 cannot tell voxel 257 from 256.

    Args:
        patch_channels: of the local observation; 0 without one.
        codes: latent codes: 1 for all blocks, or one for the input and one for each block.
        latent_length: L.
        width: features of the blocks.
        out_channels: K.

    Shape:
        points ``(B, N, 3)``, patches ``(B, N, patch_channels, 7, 7, 7)`` or None, latents ``(B, codes, L)``, to logits
        ``(B, N, K)``.
    """

    def __init__(self, patch_channels: int, *, codes: int, latent_length: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.codes = codes
        self.patch_encoder = PatchEncoder(patch_channels) if patch_channels else None
        in_features = 3 + (FEATURES if patch_channels else 0) + latent_length
        self.blocks = nn.ModuleList(
            DecoderBlock(width if i else in_features, width, latent_length) for i in range(BLOCKS)
        )
        self.shortcut = nn.Linear(in_features, width)
        self.output = nn.Linear(width, out_channels, bias=False)  # no bias, kept for the authors' weights

    def forward(self, points: Tensor, patches: Tensor | None, latents: Tensor) -> Tensor:
        features: Tensor | None = None
        patch_encoder = self.patch_encoder
        if patch_encoder is not None:
            assert patches is not None, "this variant sees patches"
            features = patch_encoder(patches.flatten(0, 1)).view(points.shape[0], points.shape[1], -1)
        h = points
        for i, block in enumerate(self.blocks):
            latent = latents[:, i + 1 if self.codes > 1 else 0]
            if i == 0:
                first = _join(block.linear1.weight, block.linear1.bias, points, features, latents[:, 0])
                shortcut = _join(self.shortcut.weight, self.shortcut.bias, points, features, latents[:, 0])
            else:
                first, shortcut = block.linear1(h), h
            h = block(first, shortcut, latent)  # (B, N, width)
        return self.output(h)


BLOCKS = 5


def _join(weight: Tensor, bias: Tensor, points: Tensor, features: Tensor | None, latent: Tensor) -> Tensor:
    """A linear layer of (coordinates, features, latent code), part by part: ``(B, N, width)``."""
    length = latent.shape[1]
    constant = F.linear(latent, weight[:, -length:], bias)[:, None]  # (B, 1, width)
    place = kernels.float32_linear(points, weight[:, :3]) + constant
    if features is None:
        return place
    return F.linear(features, weight[:, 3:-length]) + place
