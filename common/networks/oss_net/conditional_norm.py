"""Conditional batch normalization with a single scalar statistic, as OSS-Net has it (its code, Decoder)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common import kernels

__all__ = ["ConditionalBatchNorm"]


class ConditionalBatchNorm(nn.Module):
    """``gamma(latent) * norm(x) + beta(latent)``, with one mean and one variance for all points, cases and features.

    Occupancy Networks normalize every feature on its own; OSS-Net applies a normalization of *one* channel, which is
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
        if self.training:
            self.num_batches_tracked.add_(1)
        return kernels.conditional_norm(
            x, gamma, beta, self.running_mean, self.running_var, self.training, self.momentum, self.eps
        )
