"""Engines: an adversary, cohorts, several processes, and the check that bundle and ``common`` belong together."""

from common.engines.adversarial import AdversarialSegmentationTrainer, Adversary
from common.engines.cohort import CohortDataset, CohortEvaluator
from common.engines.processes import data_parallel, join_processes, own_device
from common.engines.version import check_version

__all__ = [
    "AdversarialSegmentationTrainer",
    "Adversary",
    "CohortDataset",
    "CohortEvaluator",
    "check_version",
    "data_parallel",
    "join_processes",
    "own_device",
]
