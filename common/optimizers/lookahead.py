"""Lookahead (Zhang et al., NeurIPS 2019, arXiv 1907.08610) around rectified Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["LookaheadRAdam"]


class LookaheadRAdam(torch.optim.RAdam):
    """``torch.optim.RAdam`` whose weights return, every k steps, a part of the way to where they were.

    The slow copy of a parameter is first taken after its first step. After steps k + 1, 2 k + 1 and so on, weights
    become ``alpha`` of themselves and ``1 - alpha`` of the slow copy, which becomes equal to them. The copies are part
    of the optimizer's state, as the moments are: a run continues from ``state_dict()`` bit by bit, and schedulers and
    gradient scalers find nothing unusual.

    Args:
        params: as for RAdam.
        lr: learning rate.
        k: steps between two returns.
        alpha: fraction of the fast weights, from 0 to 1.
        kwargs: as for RAdam.

    Raises:
        ValueError: for ``k`` below 1 or another ``alpha``.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, *, k: int = 5, alpha: float = 0.8, **kwargs: Any
    ) -> None:
        if k < 1 or not 0 <= alpha <= 1:
            raise ValueError(f"Lookahead: k must be at least 1 and alpha from 0 to 1, got k={k} and alpha={alpha}")
        super().__init__(params, lr=lr, **kwargs)
        self.k = k
        self.alpha = alpha

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step of RAdam, and the return where it is due.

        Args:
            closure: computes the loss anew; as for RAdam.

        Returns:
            What ``closure`` gave.
        """
        loss = super().step(closure)
        fast, slow = [], []
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.get(parameter)
                if not state or (int(state["step"]) - 1) % self.k:
                    continue
                if "slow" not in state:
                    state["slow"] = parameter.detach().clone(memory_format=torch.preserve_format)
                elif parameter.grad is not None:
                    fast.append(parameter)
                    slow.append(state["slow"])
        if fast:
            torch._foreach_lerp_(slow, fast, self.alpha)
            torch._foreach_copy_(fast, slow)
        return loss
