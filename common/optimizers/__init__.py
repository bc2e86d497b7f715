"""Optimisers that torch and MONAI lack, or have slower."""

from common.optimizers.adam import Adam, AdamW
from common.optimizers.lookahead import LookaheadRAdam

__all__ = ["Adam", "AdamW", "LookaheadRAdam"]
