"""Vox2Vox, a 3-D conditional GAN for brain tumors (Cirillo et al., 2020, arXiv 2003.13653)."""

from common.networks.vox2vox.discriminator import Vox2VoxDiscriminator
from common.networks.vox2vox.generator import Vox2VoxGenerator

__all__ = ["Vox2VoxDiscriminator", "Vox2VoxGenerator"]
