"""A linear layer outside mixed precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["float32_linear"]


def float32_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear`` in the type of the weights, also where autocast is enabled.

    Args:
        x: (..., in features), of any type.
        weight: (out features, in features).
        bias: (out features,), or None.

    Returns:
        (..., out features).
    """
    if torch.jit.is_scripting():
        return F.linear(x.to(weight.dtype), weight, bias)
    return _outside_autocast(x, weight, bias)


def _outside_autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.to(weight.dtype), weight, bias)
