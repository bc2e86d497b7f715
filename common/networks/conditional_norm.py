"""Conditional batch normalisation with a single scalar statistic, as OSS-Net has it (its code, Decoder)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        var, mean = torch.var_mean(x.float(), correction=0)
        inverse_std = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, gamma, mean, inverse_std)
        ctx.mark_non_differentiable(mean, var)
        return _scaled(x, gamma, beta, mean, inverse_std), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gamma, mean, inverse_std = ctx.saved_tensors
        normal = x.float().sub(mean).mul_(inverse_std)
        grad_beta = grad.sum(dim=1, dtype=torch.float32)
        grad_gamma = (grad * normal).sum(dim=1)
        # What the statistics pass on: sums over all elements, which are weighted sums of the two above.
        through_mean = (gamma * grad_beta).sum() / x.numel()
        through_std = (gamma * grad_gamma).sum() / x.numel()
        grad_x = normal.mul_(-through_std).sub_(through_mean).addcmul_(gamma[:, None], grad).mul_(inverse_std)
        return grad_x.to(x.dtype), grad_gamma, grad_beta, None
