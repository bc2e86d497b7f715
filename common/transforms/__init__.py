"""Transforms: loading onto a grid, boxes and crops, the locator's grid."""

from common.transforms.boxes import Box, centred_window, common_size, mask_box, soft_sum_box
from common.transforms.coarse_grid import CoarseGridd
from common.transforms.crop import CropToBoxd, LabelBox, box_source
from common.transforms.distance import SignedDistanceMapd, signed_distance
from common.transforms.grid import load_on_grid

__all__ = [
    "Box",
    "CoarseGridd",
    "CropToBoxd",
    "LabelBox",
    "SignedDistanceMapd",
    "box_source",
    "centred_window",
    "common_size",
    "load_on_grid",
    "mask_box",
    "signed_distance",
    "soft_sum_box",
]
