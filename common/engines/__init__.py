"""Engines: an adversary, cohorts, ensembles, several processes, memory, and the check of bundle against ``common``."""

from common.engines.adversarial import AdversarialSegmentationTrainer, Adversary
from common.engines.cohort import CohortDataset
from common.engines.ensemble import ensemble_plan
from common.engines.fault_tolerant import FaultTolerantEvaluator, FaultTolerantIteration
from common.engines.processes import data_parallel, join_processes, own_device
from common.engines.start import start_command
from common.engines.version import check_version
from common.knobs import check_knobs, seeded

__all__ = [
    "AdversarialSegmentationTrainer",
    "Adversary",
    "CohortDataset",
    "FaultTolerantEvaluator",
    "FaultTolerantIteration",
    "check_knobs",
    "check_version",
    "data_parallel",
    "ensemble_plan",
    "join_processes",
    "own_device",
    "seeded",
    "start_command",
]
