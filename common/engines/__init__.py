"""Engines: evaluation and prediction of cohorts."""

from common.engines.cohort import CohortDataset, CohortEvaluator

__all__ = ["CohortDataset", "CohortEvaluator"]
