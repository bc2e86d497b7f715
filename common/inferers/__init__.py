"""Inferers: mixed precision on any device, coarse to fine, fixed grids, grids of patches, mirrored views, padding."""

from common.inferers.autocast import AutocastInferer
from common.inferers.coarse_to_fine import CoarseToFineInferer
from common.inferers.divisible import DivisiblePadInferer
from common.inferers.fixed_grid import FixedGridInferer
from common.inferers.grid import GridInferer
from common.inferers.locator import Locator
from common.inferers.mirror import MirrorInferer
from common.inferers.occupancy import OccupancyInferer
from common.inferers.occupancy_start import LowResolutionStart
from common.inferers.point_training import PointTrainingInferer

__all__ = [
    "AutocastInferer",
    "CoarseToFineInferer",
    "DivisiblePadInferer",
    "FixedGridInferer",
    "GridInferer",
    "Locator",
    "LowResolutionStart",
    "MirrorInferer",
    "OccupancyInferer",
    "PointTrainingInferer",
]
