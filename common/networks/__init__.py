"""Networks of the papers: a file each, or a folder where a paper needs several."""

from common.networks.efficient_seg_net import EfficientSegNet, ResidualUNet
from common.networks.ensemble import EnsembleNetwork, OSSNetEnsemble
from common.networks.norm import InstanceNorm, norm_layer
from common.networks.oss_net import OSSNet
from common.networks.unet import UNet3d
from common.networks.vnet import BottleneckAttention, ChannelGate, SpatialGate, VNet
from common.networks.vox2vox import Vox2VoxDiscriminator, Vox2VoxGenerator

__all__ = [
    "BottleneckAttention",
    "ChannelGate",
    "EfficientSegNet",
    "EnsembleNetwork",
    "InstanceNorm",
    "OSSNet",
    "OSSNetEnsemble",
    "ResidualUNet",
    "SpatialGate",
    "UNet3d",
    "VNet",
    "Vox2VoxDiscriminator",
    "Vox2VoxGenerator",
    "norm_layer",
]
