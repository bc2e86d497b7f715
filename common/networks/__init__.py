"""Networks of the papers, one file each."""

from common.networks.bam import BottleneckAttention, ChannelGate, SpatialGate
from common.networks.efficient_seg_net import EfficientSegNet
from common.networks.norm import InstanceNorm, norm_layer
from common.networks.oss_net import OSSNet
from common.networks.residual_unet import ResidualUNet
from common.networks.unet import UNet3d
from common.networks.vnet import VNet
from common.networks.vox2vox import Vox2VoxGenerator
from common.networks.vox2vox_discriminator import Vox2VoxDiscriminator

__all__ = [
    "BottleneckAttention",
    "ChannelGate",
    "EfficientSegNet",
    "InstanceNorm",
    "OSSNet",
    "ResidualUNet",
    "SpatialGate",
    "UNet3d",
    "VNet",
    "Vox2VoxDiscriminator",
    "Vox2VoxGenerator",
    "norm_layer",
]
