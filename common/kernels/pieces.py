"""Elementwise work piece by piece: intermediate results stay in a processor's cache, or small on a GPU."""

from __future__ import annotations

import torch

__all__ = ["PIECE", "piece_size"]

PIECE = {"cpu": 2**18}
LARGE_PIECE = 2**24


def piece_size(device: torch.device) -> int:
    """Elements that are worked on at a time."""
    return PIECE.get(device.type, LARGE_PIECE)
