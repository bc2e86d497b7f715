"""On which network `make verify` looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from common.networks import VNet
from tools.verify_networks import described, in_out

BUNDLES = Path(__file__).parents[2] / "bundles"


def test_the_network_is_checked_as_the_config_builds_it_on_the_cpu_without_autocast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def spy(self: VNet, x: torch.Tensor) -> torch.Tensor:
        weight = next(p for p in self.parameters() if p.ndim == 5 and min(p.shape[:2]) > 1)
        autocast = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
        seen.append((weight.is_contiguous(memory_format=torch.channels_last_3d), x.device.type, x.dtype, autocast))
        return forward(self, x)

    forward = VNet.forward
    monkeypatch.setattr(VNet, "forward", spy)
    bundle = BUNDLES / "vnet_left_atrium"
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    assert parser["network"]["_target_"] == "common.kernels.on_device"
    in_out(bundle, described(bundle)[0])
    assert set(seen) == {(True, "cpu", torch.float32, False)}
