"""V-Net with attention gates for the left atrium."""

from common.networks.vnet.attention import BottleneckAttention, ChannelGate, SpatialGate
from common.networks.vnet.network import VNet

__all__ = ["BottleneckAttention", "ChannelGate", "SpatialGate", "VNet"]
