"""Metrics of single cases and of cohorts."""

from common.metrics.burden import Burden
from common.metrics.lesions import LesionDetection
from common.metrics.measure import Measure
from common.metrics.point_set import PointSetOverlap
from common.metrics.segmentation import case_metrics
from common.metrics.summary import absent_references, how_many, pooled_overlap, summarize

__all__ = [
    "Burden",
    "LesionDetection",
    "Measure",
    "PointSetOverlap",
    "absent_references",
    "case_metrics",
    "how_many",
    "pooled_overlap",
    "summarize",
]
