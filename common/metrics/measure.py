"""What a bundle may measure beside overlap and distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

__all__ = ["Measure"]


class Measure(Protocol):
    """A further question to every case of an evaluation, answered in a table of its own.

    :class:`~common.handlers.CaseReport` asks it: the rows of all cases, with ``case`` in front, become ``<name>.csv``,
    the summary stands in ``metrics.json`` under the name.
    """

    name: str

    def per_case(
        self,
        prediction: np.ndarray | torch.Tensor,
        reference: np.ndarray | torch.Tensor,
        *,
        spacing: Sequence[float],
    ) -> list[dict[str, Any]]:
        """Rows of one case, none or several, all with the same items.

        Args:
            prediction: label map (D, H, W).
            reference: label map of the same shape and axes.
            spacing: voxel size in mm, in the order of the axes.
        """
        ...

    def summary(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What the rows of all cases, each with its ``case``, come to: nested items of numbers and texts, or None."""
        ...
