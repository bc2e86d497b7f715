"""What a network says must be numbers: NaN compared with anything is False, and would pass for background."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_finite"]


def check_finite(output: Tensor) -> None:
    """To be asked wherever an output of a network is turned into a mask, and of every answer of a cohort.

    Raises:
        ValueError: if a number is NaN or infinite. Masks pass.
    """
    if not output.is_floating_point() or not output.numel():
        return
    lowest, highest = torch.aminmax(torch.Tensor.as_subclass(output.detach(), Tensor))  # NaN where one is
    if not torch.isfinite(lowest) or not torch.isfinite(highest):
        raise ValueError(
            "the network's output is not finite (NaN or infinite): try --amp False; if that does not help, its weights "
            "are broken: train again, or take another model"
        )
