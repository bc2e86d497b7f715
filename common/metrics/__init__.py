"""Metrics of single cases and of cohorts."""

from common.metrics.segmentation import case_metrics
from common.metrics.summary import summarise

__all__ = ["case_metrics", "summarise"]
