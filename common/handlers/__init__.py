"""Ignite handlers: reproducible epochs, exact resume, progress, reports."""

from common.handlers.animations import AnimationWriter
from common.handlers.case_cost import CaseCost
from common.handlers.case_pictures import PictureWriter
from common.handlers.case_report import CaseReport
from common.handlers.checkpoint import TrainingCheckpoint
from common.handlers.epoch_seed import EpochSeed
from common.handlers.failures import FailureLog
from common.handlers.learning_curve import LearningCurve
from common.handlers.loss_schedule import DiceThresholdAlphaSchedule, EpochAlphaSchedule
from common.handlers.progress import CohortProgress, Progress
from common.handlers.scalar_log import ScalarLog
from common.handlers.validation import ValidationHandler
from common.handlers.weights import CheckpointLoader

__all__ = [
    "AnimationWriter",
    "CaseCost",
    "CaseReport",
    "CheckpointLoader",
    "CohortProgress",
    "DiceThresholdAlphaSchedule",
    "EpochAlphaSchedule",
    "EpochSeed",
    "FailureLog",
    "LearningCurve",
    "PictureWriter",
    "Progress",
    "ScalarLog",
    "TrainingCheckpoint",
    "ValidationHandler",
]
