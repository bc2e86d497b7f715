"""Networks of the papers, one file each."""

from common.networks.bam import BottleneckAttention, ChannelGate, SpatialGate
from common.networks.vnet import VNet

__all__ = ["BottleneckAttention", "ChannelGate", "SpatialGate", "VNet"]
