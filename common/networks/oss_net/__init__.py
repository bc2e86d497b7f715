"""OSS-Net, an occupancy network for segmentation that spares memory (Reich et al., BMVC 2021, arXiv 2110.10640)."""

from common.networks.oss_net.network import OSSNet

__all__ = ["OSSNet"]
