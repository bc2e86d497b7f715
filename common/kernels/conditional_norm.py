"""Conditional batch normalisation with a single scalar statistic, as OSS-Net has it (its code, Decoder)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from common.networks.pieces import piece_size

__all__ = ["ConditionalBatchNorm"]


class ConditionalBatchNorm(nn.Module):
    """``gamma(latent) * norm(x) + beta(latent)``, with one mean and one variance for all points, cases and features.

    Occupancy Networks normalise every feature on its own; OSS-Net applies a normalisation of *one* channel, which is
    kept for its weights. Both maps start as constants: gamma 1, beta 0.

    Args:
        latent_length: L, length of the conditioning vector.
        features: F.
        momentum: of the running statistics.
        eps: added to the variance.

    Shape:
        x ``(B, N, F)`` and latent ``(B, L)`` to ``(B, N, F)``.
    """

    def __init__(self, latent_length: int, features: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.gamma = nn.Linear(latent_length, features)
        self.beta = nn.Linear(latent_length, features)
        for linear, bias in ((self.gamma, 1.0), (self.beta, 0.0)):
            nn.init.zeros_(linear.weight)
            nn.init.constant_(linear.bias, bias)
        # Named and shaped as those of torch's BatchNorm1d(1). Not that class: on a GPU it sums a channel in one block
        # of threads, and here all of the tensor is one channel.
        self.register_buffer("running_mean", torch.zeros(1))
        self.register_buffer("running_var", torch.ones(1))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        gamma, beta = self.gamma(latent).float(), self.beta(latent).float()  # (B, F)
        if torch.jit.is_scripting() or not self.training:  # exported networks do not train
            return _scaled(x, gamma, beta, self.running_mean, torch.rsqrt(self.running_var + self.eps))
        return self._trained(x, gamma, beta)

    @torch.jit.unused
    def _trained(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y, mean, var = _TrainingNorm.apply(x, gamma, beta, self.eps)
        self._track(mean, var, x.numel())
        return y

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype) * (count / (count - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


def _scaled(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
    """``gamma * (x - mean) * inverse_std + beta`` in the type of x."""
    scale = gamma * inverse_std
    shift = beta - mean * scale
    return torch.addcmul(shift.to(x.dtype)[:, None], x, scale.to(x.dtype)[:, None])


class _TrainingNorm(torch.autograd.Function):
    """The normalisation by the batch's statistics; for its gradient it keeps x alone, in the type that x has."""

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
