"""Padé activation unit (Molina, Schramowski and Kersting, ICLR 2020) as OSS-Net uses it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common import kernels

__all__ = ["PadeActivation", "pade_groups"]

# A fit of leaky ReLU.
NUMERATOR = (3.35583603e-02, 5.05000375e-01, 1.65343934e00, 2.01001052e00, 9.31901999e-01, 1.52424124e-01)
DENOMINATOR = (3.30847488e-06, 3.98021568e00, 5.12471206e-07, 3.01830109e-01)


class PadeActivation(nn.Module):
    """Learnable activation, a rational function with ten coefficients for all elements of the tensor.

    ``y = (a0 + a1 x + ... + a5 x⁵) / (1 + |b0| |x| + |b1| x² + |b2| |x|³ + |b3| x⁴)``

    The absolute value is taken term by term (kept for the authors' weights), not around the sum as in the formula of
    the paper that introduced the unit. For large ``|x|`` the function tends to ``a5 / |b3| x``. For its gradient only
    the input is kept; it is computed in float32 at least, whatever the input's type, and can be taken once.

    Attributes:
        numerator: a0 to a5.
        denominator: b0 to b3.

    Shape:
        any, to the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numerator = nn.Parameter(torch.tensor(NUMERATOR))
        self.denominator = nn.Parameter(torch.tensor(DENOMINATOR))

    def forward(self, x: Tensor) -> Tensor:
        return kernels.pade(x, self.numerator, self.denominator)


def pade_groups(network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: everything else, and the coefficients of all :class:`PadeActivation`.

    Args:
        network: whose parameters are to be optimized.
        learning_rate: of the coefficients; the rest gets the optimizer's.

    Example::

        >>> torch.optim.RAdam(pade_groups(network, learning_rate=1e-2), lr=3e-4)
    """
    units = [module for module in network.modules() if isinstance(module, PadeActivation)]
    coefficients = [parameter for unit in units for parameter in unit.parameters()]
    ids = {id(parameter) for parameter in coefficients}
    others = [parameter for parameter in network.parameters() if id(parameter) not in ids]
    return [{"params": others}, {"params": coefficients, "lr": learning_rate}]
