"""Engines: evaluation and prediction of cohorts, and the check that bundle and ``common`` belong together."""

from common.engines.cohort import CohortDataset, CohortEvaluator
from common.engines.version import check_version

__all__ = ["CohortDataset", "CohortEvaluator", "check_version"]
