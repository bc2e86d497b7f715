"""Conditional batch normalization with one mean and one variance for a whole tensor."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.pieces import piece_size
from common.kernels.switch import enabled

__all__ = ["conditional_norm"]


def conditional_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``gamma * norm(x) + beta``, with one mean and one variance for all of ``x``.

    ``norm`` is a batch normalization of one channel, computed and updated as torch does. Neither ``norm(x)`` nor
    statistics of single features are made: on a CPU the work is done piece by piece, in the cache, and for its gradient
    x alone is kept, in the type that it has.

    Args:
        x: (B, N, F).
        gamma: (B, F), float32.
        beta: (B, F), float32.
        running_mean: (1,), updated in training.
        running_var: (1,), updated in training.
        training: normalize by the statistics of x, else by the running ones.
        momentum: of the running statistics.
        eps: added to the variance.

    Returns:
        (B, N, F) in the type of x.
    """
    if torch.jit.is_scripting() or not training:  # exported networks do not train
        return _scaled(x, gamma, beta, running_mean, torch.rsqrt(running_var + eps))
    return _trained(x, gamma, beta, running_mean, running_var, momentum, eps)


@torch.jit.unused
def _trained(
    x: Tensor, gamma: Tensor, beta: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
) -> Tensor:
    if not enabled():
        normalized = F.batch_norm(
            x.reshape(-1, 1).to(running_mean.dtype), running_mean, running_var, None, None, True, momentum, eps
        )
        return (gamma[:, None] * normalized.view(x.shape) + beta[:, None]).to(x.dtype)
    y, mean, var = _TrainingNorm.apply(x, gamma, beta, eps)
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_var.lerp_(var.to(running_var.dtype) * (x.numel() / (x.numel() - 1)), momentum)
    return y


def _scaled(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
    """``gamma * (x - mean) * inverse_std + beta`` in the type of x."""
    scale = gamma * inverse_std
    shift = beta - mean * scale
    return torch.addcmul(shift.to(x.dtype)[:, None], x, scale.to(x.dtype)[:, None])


class _TrainingNorm(torch.autograd.Function):
    """The normalization by the batch's statistics; for its gradient it keeps x alone, in the type that x has."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = _statistics(x)
        inverse_std = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, gamma, mean, inverse_std)
        ctx.mark_non_differentiable(mean, var)
        return _scaled(x, gamma, beta, mean, inverse_std), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gamma, mean, inverse_std = ctx.saved_tensors
        grad_beta, grad_gamma = torch.zeros_like(gamma), torch.zeros_like(gamma)
        for case, rows in _pieces(x):
            upper = grad[case, rows].float()
            grad_beta[case] += upper.sum(dim=0)
            grad_gamma[case] += (x[case, rows].float() - mean).mul_(upper).sum(dim=0)
        grad_gamma *= inverse_std
        # What the statistics pass on: sums over all elements, which are weighted sums of the two above.
        through_mean = inverse_std * (gamma * grad_beta).sum() / x.numel()
        through_std = inverse_std**2 * (gamma * grad_gamma).sum() / x.numel()
        scale, grad_x = gamma * inverse_std, torch.empty_like(x)
        for case, rows in _pieces(x):
            lower = (x[case, rows].float() - mean).mul_(-through_std).sub_(through_mean)
            grad_x[case, rows] = lower.addcmul_(grad[case, rows].float(), scale[case])
        return grad_x, grad_gamma, grad_beta, None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (of the population) of all elements, in float32; those of the pieces, united."""
    means, squares, counts = [], [], []
    for case, rows in _pieces(x):
        piece = x[case, rows].float()
        means.append(piece.mean())
        squares.append((piece - means[-1]).square_().sum())
        counts.append(piece.numel())
    means, count = torch.stack(means), torch.tensor(counts, device=x.device)
    mean = (count * means).sum() / x.numel()
    return mean, (torch.stack(squares) + count * (means - mean).square()).sum() / x.numel()


def _pieces(x: Tensor) -> list[tuple[int, slice]]:
    """Indices of all of ``(B, N, F)``: a case and some of its points."""
    rows = max(1, piece_size(x.device) // x.shape[2])
    return [(case, slice(start, start + rows)) for case in range(x.shape[0]) for start in range(0, x.shape[1], rows)]
