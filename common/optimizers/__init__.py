"""Optimizers that torch and MONAI lack."""

from common.optimizers.lookahead import LookaheadRAdam

__all__ = ["LookaheadRAdam"]
