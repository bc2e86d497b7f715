"""EfficientSegNet and its coarse network, winners of FLARE 2021 (Zhang et al., 2021, arXiv 2109.10601)."""

from common.networks.efficient_seg_net.network import EfficientSegNet
from common.networks.efficient_seg_net.residual_unet import ResidualUNet

__all__ = ["EfficientSegNet", "ResidualUNet"]
