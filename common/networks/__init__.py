"""Networks of the papers, one file each."""

from common.networks.bam import BottleneckAttention, ChannelGate, SpatialGate
from common.networks.unet import UNet3d
from common.networks.vnet import VNet

__all__ = ["BottleneckAttention", "ChannelGate", "SpatialGate", "UNet3d", "VNet"]
