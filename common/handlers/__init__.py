"""Ignite handlers: reproducible epochs, exact resume, progress, reports."""

from common.handlers.checkpoint import TrainingCheckpoint
from common.handlers.epoch_seed import EpochSeed
from common.handlers.progress import Progress

__all__ = ["EpochSeed", "Progress", "TrainingCheckpoint"]
