"""Lookahead around RAdam: the specification's schedule by hand, exact resume, schedulers and scalers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.optimizers import LookaheadRAdam


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        ((net(x) - x.sum(dim=1, keepdim=True)) ** 2).mean().backward()
        optimizer.step()


def test_returns_to_the_slow_weights_after_steps_6_and_11():
    ours, theirs = network(), network()
    optimizer, plain = LookaheadRAdam(ours.parameters(), lr=0.01), torch.optim.RAdam(theirs.parameters(), lr=0.01)
    slow = None
    for step in range(1, 13):
        train(ours, optimizer, range(step, step + 1))
        train(theirs, plain, range(step, step + 1))
        with torch.no_grad():
            if step == 1:
                slow = [p.clone() for p in theirs.parameters()]
            elif step in (6, 11):
                for p, s in zip(theirs.parameters(), slow, strict=True):
                    p.copy_(0.8 * p + 0.2 * s)
                    s.copy_(p)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("stop", [3, 6, 8])
def test_a_resumed_run_is_equal_bit_by_bit(tmp_path, stop):
    whole = network()
    optimizer = LookaheadRAdam(whole.parameters(), lr=0.01)
    train(whole, optimizer, range(stop))
    torch.save({"network": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    train(whole, optimizer, range(stop, 14))
    state, resumed = torch.load(tmp_path / "state.pt", weights_only=True), network()
    resumed.load_state_dict(state["network"])
    again = LookaheadRAdam(resumed.parameters(), lr=0.01)
    again.load_state_dict(state["optimizer"])
    train(resumed, again, range(stop, 14))
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_schedulers_reach_every_group():
    net = network()
    groups = [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.1}]
    optimizer = LookaheadRAdam(groups, lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1], gamma=0.1)
    train(net, optimizer, range(1))
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001, 0.01])


def test_a_gradient_scaler_skips_steps_that_overflow():
    net = network()
    optimizer = LookaheadRAdam(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    before = [p.clone() for p in net.parameters()]
    scaler.scale(net(torch.full((1, 4), float("inf"))).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))
    assert scaler.get_scale() == 2.0


def test_parameters_without_gradient_stay_as_they_are():
    net = network()
    net[2].requires_grad_(False)
    optimizer = LookaheadRAdam(net.parameters(), lr=0.01)
    before = net[2].weight.clone()
    for step in range(7):
        optimizer.zero_grad()
        net(torch.full((1, 4), float(step))).sum().backward()
        optimizer.step()
    assert torch.equal(net[2].weight, before)


@pytest.mark.parametrize("options", [{"k": 0}, {"alpha": 1.5}])
def test_refuses_settings_that_make_no_sense(options):
    with pytest.raises(ValueError, match="k must be at least 1 and alpha from 0 to 1"):
        LookaheadRAdam(network().parameters(), **options)
