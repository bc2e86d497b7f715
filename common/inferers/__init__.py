"""Inferers: mixed precision on any device, and coarse-to-fine segmentation."""

from common.inferers.autocast import AutocastInferer, autocast_dtype, cuda_amp
from common.inferers.coarse_to_fine import CoarseToFineInferer
from common.inferers.locator import Locator

__all__ = ["AutocastInferer", "CoarseToFineInferer", "Locator", "autocast_dtype", "cuda_amp"]
