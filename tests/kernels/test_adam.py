"""Adam on weights stored channels last: torch's results and state, without copies."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from common.kernels import Adam, AdamW

PAIRS = [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]


def network() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv3d(3, 5, 3), nn.Conv3d(5, 2, 1), nn.InstanceNorm3d(2, affine=True), nn.Conv3d(2, 3, 2)
    )
    return layers.to(memory_format=torch.channels_last_3d)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        x = torch.randn(2, 3, 6, 6, 6, generator=torch.Generator().manual_seed(step))
        net(x.to(memory_format=torch.channels_last_3d)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(("ours", "torchs"), PAIRS)
@pytest.mark.parametrize("settings", [{}, {"amsgrad": True, "weight_decay": 0.1}, {"fused": False}])
def test_gives_torchs_weights_and_state(ours: type, torchs: type, settings: dict) -> None:
    nets = network(), network()
    settings = {"lr": 0.01, "fused": True, **settings}
    optimizers = [kind(net.parameters(), **settings) for kind, net in zip((ours, torchs), nets, strict=True)]
    for net, optimizer in zip(nets, optimizers, strict=True):
        train(net, optimizer, range(5))
    torch.testing.assert_close(nets[0].state_dict(), nets[1].state_dict(), atol=1e-6, rtol=1e-5)
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.testing.assert_close(states[0]["state"], states[1]["state"], atol=1e-6, rtol=1e-5)
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert all(p.is_contiguous(memory_format=torch.channels_last_3d) for p in nets[0].parameters() if p.dim() == 5)


@pytest.mark.parametrize(("ours", "torchs"), PAIRS)
def test_continues_from_its_own_state_exactly_and_from_torchs(ours: type, torchs: type, tmp_path) -> None:
    whole = network()
    train(whole, ours(whole.parameters(), lr=0.01, fused=True), range(6))
    for kind, exact in ((ours, True), (torchs, False)):
        half = network()
        first = kind(half.parameters(), lr=0.01, fused=True)
        train(half, first, range(3))
        torch.save({"net": half.state_dict(), "optimizer": first.state_dict()}, tmp_path / "checkpoint.pt")
        saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        rest = network()
        rest.load_state_dict(saved["net"])
        second = ours(rest.parameters(), lr=0.01, fused=True)
        second.load_state_dict(copy.deepcopy(saved["optimizer"]))
        train(rest, second, range(3, 6))
        tolerance = {"atol": 0, "rtol": 0} if exact else {"atol": 1e-6, "rtol": 1e-5}
        torch.testing.assert_close(rest.state_dict(), whole.state_dict(), **tolerance)


@pytest.mark.parametrize(("ours", "torchs"), PAIRS)
def test_moments_and_gradients_that_lie_in_another_way_count_as_what_they_are(ours: type, torchs: type) -> None:
    """torch's fused step would mix their elements up."""
    ends = []
    for kind, fused in ((ours, True), (torchs, False)):
        net = network()
        optimizer = kind(net.parameters(), lr=0.01, fused=fused)
        for step in range(4):
            for p in net.parameters():
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))  # contiguous
            optimizer.step()
            saved = optimizer.state_dict()
            for moments in saved["state"].values():
                moments |= {name: value.contiguous() for name, value in moments.items()}
            optimizer.load_state_dict(saved)
        ends.append(net.state_dict())
    torch.testing.assert_close(ends[0], ends[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "copies"), [(Adam, False), (torch.optim.Adam, True)])
def test_copies_no_weights(kind: type, copies: bool) -> None:
    net = network()
    optimizer = kind(net.parameters(), lr=0.01, fused=True)
    train(net, optimizer, range(1))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        optimizer.step()
    assert any(event.key == "aten::clone" for event in seen.key_averages()) is copies
