"""From folders on disk to lists of checked cases, folds and cached items."""

from common.datasets.cache import CachedDataset
from common.datasets.cases import cases_trained_on, inference_cases, labeled_cases, select, training_cases
from common.datasets.check import check_datalist
from common.datasets.class_weights import balanced_class_weights
from common.datasets.demonstration import is_phantom
from common.datasets.errors import DataError
from common.datasets.flare21_folds import flare21_split, oversampled
from common.datasets.inputs import inference_datalist
from common.datasets.layouts.abdomenct1k import abdomenct1k_datalist
from common.datasets.layouts.atria2018 import atria2018_datalist
from common.datasets.layouts.brats import brats2020_datalist, brats2023_datalist
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.decathlon import decathlon_datalist, decathlon_download
from common.datasets.layouts.flare21 import flare21_datalist
from common.datasets.layouts.lits import lits_datalist
from common.datasets.layouts.msd_task01 import msd_task01_datalist
from common.datasets.layouts.registry import recognize
from common.datasets.listed_splits import listed_split
from common.datasets.names import case_of
from common.datasets.patch_queue import PatchQueue
from common.datasets.plan import find_plan, locator_is_needed, plan_crop, plan_recipe
from common.datasets.shards import run_on_rank_zero, shard, sharded_loader, validation_shard
from common.datasets.splits import split
from common.datasets.stored import plan_once, read_plan
from common.datasets.stored_splits import positives_only_split, read_split, stratified_split
from common.datasets.structures import PlannedStructures, planned_structures

__all__ = [
    "CachedDataset",
    "DataError",
    "DataSet",
    "PatchQueue",
    "PlannedStructures",
    "abdomenct1k_datalist",
    "atria2018_datalist",
    "balanced_class_weights",
    "brats2020_datalist",
    "brats2023_datalist",
    "case_of",
    "cases_trained_on",
    "check_datalist",
    "decathlon_datalist",
    "decathlon_download",
    "find_plan",
    "flare21_datalist",
    "flare21_split",
    "inference_cases",
    "inference_datalist",
    "is_phantom",
    "labeled_cases",
    "listed_split",
    "lits_datalist",
    "locator_is_needed",
    "msd_task01_datalist",
    "oversampled",
    "plan_crop",
    "plan_once",
    "plan_recipe",
    "planned_structures",
    "positives_only_split",
    "read_plan",
    "read_split",
    "recognize",
    "run_on_rank_zero",
    "select",
    "shard",
    "sharded_loader",
    "split",
    "stratified_split",
    "training_cases",
    "validation_shard",
]
