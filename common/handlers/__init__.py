"""Ignite handlers: reproducible epochs, exact resume, progress, reports."""

from common.handlers.checkpoint import TrainingCheckpoint
from common.handlers.epoch_seed import EpochSeed
from common.handlers.loss_schedule import DiceThresholdAlphaSchedule, EpochAlphaSchedule
from common.handlers.progress import CohortProgress, Progress

__all__ = [
    "CohortProgress",
    "DiceThresholdAlphaSchedule",
    "EpochAlphaSchedule",
    "EpochSeed",
    "Progress",
    "TrainingCheckpoint",
]
