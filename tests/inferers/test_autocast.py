"""Mixed precision: what it is asked for, what it gives back, and gradients that are those of float32."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from common.inferers import AutocastInferer
from common.kernels import autocast_dtype, cuda_amp
from common.networks import EfficientSegNet, VNet


class Dtypes(nn.Module):
    """Notes in which type its convolution computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        y = self.conv(x)
        self.computed_in = y.dtype
        return y


def fill_freed_memory() -> None:
    """Make what is left uninitialized visible: memory that is handed out next holds 1e30."""
    blocks = [torch.full((1 << power,), 1e30) for power in range(10, 22, 2) for _ in range(6)]
    del blocks


def weight_gradients(network: nn.Module, x: torch.Tensor, *, amp: bool) -> list[torch.Tensor]:
    network.zero_grad()
    AutocastInferer(amp=amp)(x, network).square().mean().backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None and p.ndim == 5]


def worst_error(network: nn.Module, x: torch.Tensor) -> float:
    """Largest relative difference of a bfloat16 weight gradient from float32's, over three repetitions."""
    exact = weight_gradients(network, x, amp=False)
    errors = []
    for _ in range(3):
        fill_freed_memory()
        reduced = weight_gradients(network, x, amp=True)
        errors += [((a - b).norm() / b.norm()).nan_to_num(torch.inf) for a, b in zip(reduced, exact, strict=True)]
    return float(max(errors))


@pytest.mark.parametrize("amp", [True, False, "auto"])
def test_result_is_float32(amp):
    assert AutocastInferer(amp=amp)(torch.rand(1, 1, 4, 4, 4), Dtypes()).dtype == torch.float32


@pytest.mark.parametrize("amp", [True, False])
def test_a_network_that_overwrites_its_maps_can_be_trained_on_volumes_with_metadata(amp):
    network = EfficientSegNet(channels=(2, 2, 2)).to(memory_format=torch.channels_last_3d)
    AutocastInferer(amp=amp)(MetaTensor(torch.rand(1, 1, 32, 32, 32)), network).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("amp", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_network_computes_in_what_was_asked_for(amp, dtype):
    network = Dtypes()
    AutocastInferer(amp=amp)(torch.rand(1, 1, 4, 4, 4), network)
    assert network.computed_in == dtype


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_auto_reduces_precision_where_onednn_computes_in_bfloat16(monkeypatch, avx512, amx, allowed):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: allowed)
    assert autocast_dtype("auto", "cpu") == (torch.bfloat16 if (avx512 or amx) and allowed else None)


@pytest.mark.slow
def test_auto_is_float32_where_onednn_is_limited_to_avx2():
    line = "from common.kernels import computes_in_bfloat16; print(computes_in_bfloat16())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}  # read as Python starts
    done = subprocess.run([sys.executable, "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("amp", [True, "auto"])
def test_cuda_computes_in_float16_and_the_engine_scales_the_loss(amp):
    assert autocast_dtype(amp, "cuda:0") == torch.float16
    assert cuda_amp(amp, "cuda:0") is True


def test_engine_does_not_scale_the_loss_on_a_cpu_or_when_told_not_to():
    assert cuda_amp(True, "cpu") is False
    assert cuda_amp(False, "cuda:0") is False


@pytest.mark.parametrize("amp", ["true", "True", "false", 1, None])
def test_anything_but_a_boolean_or_auto_is_refused_at_once(amp):
    with pytest.raises(ValueError, match="True, False or auto"):
        AutocastInferer(amp=amp)


@pytest.mark.parametrize("sides", [(2, 9, 9), (3, 8, 8), (4, 6, 6), (8, 3, 8), (8, 8, 3), (6, 9, 14)])
def test_bfloat16_gradients_of_volumes_thinner_than_the_kernel_are_those_of_float32(sides):
    conv = nn.Conv3d(16, 16, 5, padding=2).to(memory_format=torch.channels_last_3d)
    assert worst_error(conv, torch.randn(2, 16, *sides)) < 0.02


@pytest.mark.parametrize("sides", [(2, 6, 6), (6, 9, 14)])
def test_bfloat16_gradients_of_dilated_convolutions_are_those_of_float32(sides):
    conv = nn.Conv3d(8, 8, 3, padding=4, dilation=4).to(memory_format=torch.channels_last_3d)
    assert worst_error(conv, torch.randn(2, 8, *sides)) < 0.02


@pytest.mark.slow
def test_bfloat16_gradients_of_a_v_net_with_a_thin_bottleneck_are_those_of_float32():
    network = VNet().to(memory_format=torch.channels_last_3d)
    assert worst_error(network, torch.randn(1, 1, 48, 16, 16)) < 0.3


def test_interpolation_of_bfloat16_maps_stays_in_bfloat16():
    seen = []
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Upsample(scale_factor=2, mode="trilinear"))
    network[1].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    output = AutocastInferer(amp=True)(torch.randn(1, 1, 4, 4, 4), network)
    assert (seen, output.dtype) == ([torch.bfloat16], torch.float32)
