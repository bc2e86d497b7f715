"""Attention gates of the V-Net for the left atrium, after Park et al., "BAM", BMVC 2018 (arXiv 1807.06514)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["BottleneckAttention", "ChannelGate", "SpatialGate"]


class ChannelGate(nn.Module):
    """Channel attention: global average pool, two-layer perceptron, sigmoid; returns ``x + x * a``.

    Args:
        channels: number of channels C of the input.
        reduction: the hidden layer has ``C // reduction`` units.
    """

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        super().__init__()
        hidden = _hidden_channels(channels, reduction)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        a = self.gate(x)[:, :, None, None, None]  # (B, C, 1, 1, 1)
        return x + x * a


class SpatialGate(nn.Module):
    """Spatial attention: 1x1x1 reduction, two dilated 3x3x3 convolutions, one sigmoid map; returns ``x + x * a``.

    Args:
        channels: number of channels C of the input.
        reduction: the convolutions have ``C // reduction`` channels.
        dilation: dilation (and padding) of the two 3x3x3 convolutions, in voxels of this level.
    """

    def __init__(self, channels: int, *, reduction: int = 4, dilation: int = 4) -> None:
        super().__init__()
        hidden = _hidden_channels(channels, reduction)
        layers: list[nn.Module] = [nn.Conv3d(channels, hidden, 1), nn.BatchNorm3d(hidden), nn.ReLU()]
        for _ in range(2):
            layers += [
                nn.Conv3d(hidden, hidden, 3, padding=dilation, dilation=dilation),
                nn.BatchNorm3d(hidden),
                nn.ReLU(),
            ]
        self.gate = nn.Sequential(*layers, nn.Conv3d(hidden, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x + x * self.gate(x)  # map: (B, 1, D, H, W)


class BottleneckAttention(nn.Module):
    """Channel gate, then spatial gate on its result, both added: ``c = C(x); return x + S(c)``.

    Unlike BAM, the gates are sequential, end without batch normalization and carry one residual each. Both batch
    normalizations need more than one value per channel, so a training batch has at least two samples.
    """

    def __init__(self, channels: int, *, reduction: int = 4, dilation: int = 4) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction=reduction)
        self.spatial = SpatialGate(channels, reduction=reduction, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] < 2:
            raise ValueError(
                "attention normalizes over the batch: train with a batch_size of at least 2 (got 1), "
                "or without attention"
            )
        return x + self.spatial(self.channel(x))


def _hidden_channels(channels: int, reduction: int) -> int:
    if not 1 <= reduction <= channels:
        raise ValueError(
            f"attention reduction must be between 1 and the {channels} channels of the level, got {reduction}"
        )
    return channels // reduction
