"""Conditional batch normalization with one scalar statistic, against torch's own normalization of one channel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.kernels.pieces import PIECE
from common.networks.oss_net.conditional_norm import ConditionalBatchNorm


def prepared() -> tuple[ConditionalBatchNorm, nn.BatchNorm1d]:
    norm, reference = ConditionalBatchNorm(5, 8), nn.BatchNorm1d(1, affine=False)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm, reference


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_equals_a_batch_norm_of_one_channel_scaled_and_shifted_per_case(train):
    norm, reference = prepared()
    latent = torch.randn(2, 5)
    for _ in range(3):  # three batches, so that the running statistics matter
        x = 4 * torch.randn(2, 7, 8) + 3
        norm(x, latent), reference(x.view(14, 1, 8))
    norm.train(train), reference.train(train)
    gamma, beta = (linear(latent).repeat_interleave(7, dim=0) for linear in (norm.gamma, norm.beta))
    expected = gamma * reference(x.view(14, 1, 8))[:, 0] + beta
    torch.testing.assert_close(norm(x, latent), expected.view(2, 7, 8), atol=1e-5, rtol=1e-5)


def test_keeps_the_running_statistics_of_torch():
    norm, reference = prepared()
    for _ in range(3):
        x = 4 * torch.randn(2, 7, 8) + 3
        norm(x, torch.randn(2, 5)), reference(x.view(14, 1, 8))
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


def test_starts_as_a_plain_normalization_whatever_the_latent_code():
    norm, x = ConditionalBatchNorm(5, 8), 4 * torch.randn(2, 7, 8) + 3
    y = norm(x, torch.randn(2, 5))
    torch.testing.assert_close(y, (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt())


def test_gradients_are_those_of_torch():
    norm, reference = prepared()
    latent, weights = torch.randn(2, 5), torch.randn(2, 7, 8)
    x = torch.randn(2, 7, 8, requires_grad=True)
    gamma, beta = norm.gamma(latent)[:, None], norm.beta(latent)[:, None]
    expected = gamma * reference(x.view(14, 1, 8)).view(2, 7, 8) + beta
    ours = torch.autograd.grad((norm(x, latent) * weights).sum(), [x, *norm.parameters()])
    theirs = torch.autograd.grad((expected * weights).sum(), [x, *norm.parameters()])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_keeps_only_its_input_for_the_gradient_in_the_type_that_it_has():
    norm, x, saved = ConditionalBatchNorm(5, 8), torch.randn(2, 7, 8).bfloat16().requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        norm(x, torch.randn(2, 5))
    assert [t.dtype for t in saved if t.numel() == x.numel()] == [torch.bfloat16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pieces_of_a_case_are_united(dtype, monkeypatch):
    norm, latent = prepared()[0], torch.randn(2, 5)
    x = (torch.randn(2, 7, 8) * torch.arange(1, 8)[:, None] + 3).to(dtype)  # every point has another spread
    weights = torch.randn(2, 7, 8).to(dtype)

    def results():
        norm.running_mean.zero_(), norm.running_var.fill_(1)
        leaf = x.clone().requires_grad_()
        y = norm(leaf, latent)
        grads = torch.autograd.grad((y * weights).sum(), [leaf, *norm.parameters()])
        return [y, *grads, norm.running_mean.clone(), norm.running_var.clone()]

    whole = results()
    monkeypatch.setitem(PIECE, "cpu", 3 * 8)  # three points, three, and one
    for pieces, expected in zip(results(), whole, strict=True):
        atol, rtol = (2e-2, 1e-2) if dtype == torch.bfloat16 else (1e-5, 1e-5)
        torch.testing.assert_close(pieces, expected, atol=atol, rtol=rtol)
