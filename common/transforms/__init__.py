"""Transforms: loading onto a grid, boxes and crops, distance maps, saving."""

from common.transforms.aligned import AlignedResized, PerLabelResized, resize_aligned
from common.transforms.borders import BorderMapd
from common.transforms.box_rules import LargestComponentBox, OrganBox, SoftSumBox
from common.transforms.boxes import Box, centered_box, common_size, mask_box, soft_sum_box
from common.transforms.classes import DiscreteMapsd
from common.transforms.coarse_grid import CoarseGridd, FixedGrid, SpacingGrid
from common.transforms.components import ComponentFilterd
from common.transforms.crop import CropToBoxd, LabelBox, box_source
from common.transforms.crop_or_pad import CropOrPadd
from common.transforms.distance import SignedDistanceMapd, WithDistanceMapd
from common.transforms.elastic import RandControlPointElasticd
from common.transforms.flat import flat_compose
from common.transforms.foreground import InForegroundBoxd
from common.transforms.gain_gamma import RandGainGammad
from common.transforms.grid import load_on_grid
from common.transforms.holes import FillEnclosedd
from common.transforms.label_box_crop import RandLabelBoxCropd
from common.transforms.label_crop import LabelProbabilityCropd
from common.transforms.load import LoadImageAsVolumed
from common.transforms.organ_shift import RandOrganShiftd
from common.transforms.original_grid import LabelsOnOriginalGridd
from common.transforms.points import SamplePointsd
from common.transforms.readers import VolumeReader, register_readers
from common.transforms.rescale import RescaleIntensityd
from common.transforms.save import SaveImageAsPredictiond, prediction_path
from common.transforms.structure_crop import RandStructureCropd
from common.transforms.structure_masks import (
    ChannelsOfLabeld,
    LabelOfChannelsd,
    StructureMasksd,
    channels_of_label,
)
from common.transforms.working_grids import PadToWorkingGridd, working_grid

__all__ = [
    "AlignedResized",
    "BorderMapd",
    "Box",
    "ChannelsOfLabeld",
    "CoarseGridd",
    "ComponentFilterd",
    "CropOrPadd",
    "CropToBoxd",
    "DiscreteMapsd",
    "FillEnclosedd",
    "FixedGrid",
    "InForegroundBoxd",
    "LabelBox",
    "LabelOfChannelsd",
    "LabelProbabilityCropd",
    "LabelsOnOriginalGridd",
    "LargestComponentBox",
    "LoadImageAsVolumed",
    "OrganBox",
    "PadToWorkingGridd",
    "PerLabelResized",
    "RandControlPointElasticd",
    "RandGainGammad",
    "RandLabelBoxCropd",
    "RandOrganShiftd",
    "RandStructureCropd",
    "RescaleIntensityd",
    "SamplePointsd",
    "SaveImageAsPredictiond",
    "SignedDistanceMapd",
    "SoftSumBox",
    "SpacingGrid",
    "StructureMasksd",
    "VolumeReader",
    "WithDistanceMapd",
    "box_source",
    "centered_box",
    "channels_of_label",
    "common_size",
    "flat_compose",
    "load_on_grid",
    "mask_box",
    "prediction_path",
    "register_readers",
    "resize_aligned",
    "soft_sum_box",
    "working_grid",
]
