"""Convolutions at the bottom of wide networks, computed as products of matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from common.kernels.conv import conv3d
from common.networks import Vox2VoxGenerator


def parts(
    *, side: int, batch: int = 1, kernel: int = 4, bias: bool = True, dtype=torch.bfloat16
) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    random = partial(torch.randn, generator=generator)
    x = random(batch, 96, side, side + 1, side + 2).to(dtype, memory_format=torch.channels_last_3d)
    weight = (random(64, 96, *[kernel] * 3) / 80).to(dtype, memory_format=torch.channels_last_3d)
    leaves = [x, weight, random(64).to(dtype) if bias else None]
    return [leaf if leaf is None else leaf.requires_grad_() for leaf in leaves]


def kinds(compute) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        compute()
    known = {"aten::mm": "matmul", "aten::addmm": "matmul", "aten::_convolution": "conv"}
    return {known[event.key] for event in seen.key_averages() if event.key in known}


@pytest.mark.parametrize(
    ("shape", "padding"),
    [
        ({"side": 4}, 0),
        ({"side": 3, "batch": 2}, 1),
        ({"side": 2, "kernel": 3}, 1),
        ({"side": 3, "bias": False}, 1),
    ],
)
def test_answer_and_gradients_are_those_of_a_convolution(
    shape: dict, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.kernels.conv.WEIGHTS_PER_VOXEL", 0)
    leaves = parts(**shape)
    exact = [leaf if leaf is None else leaf.detach().double().requires_grad_() for leaf in leaves]
    answer, expected = conv3d(*leaves, padding=padding), F.conv3d(*exact, padding=padding)
    assert kinds(lambda: conv3d(*leaves, padding=padding)) == {"matmul"}
    assert answer.dtype == torch.bfloat16
    assert answer.is_contiguous(memory_format=torch.channels_last_3d)
    gradient = torch.randn(answer.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    results = [answer, *torch.autograd.grad(answer, [leaf for leaf in leaves if leaf is not None], gradient)]
    truths = [expected, *torch.autograd.grad(expected, [leaf for leaf in exact if leaf is not None], gradient.double())]
    for result, truth in zip(results, truths, strict=True):
        assert result.shape == truth.shape
        assert (result - truth).norm() < 4e-3 * truth.norm()  # bfloat16 has 8 bits


def test_only_wanted_gradients_are_computed() -> None:
    x, weight, bias = parts(side=4)
    x.requires_grad_(False)
    conv3d(x, weight, bias).sum().backward()
    assert x.grad is None
    assert weight.grad.shape == weight.shape


def test_under_autocast_float32_weights_get_float32_gradients() -> None:
    x, weight, bias = parts(side=4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = kinds(lambda: conv3d(x, weight, bias))
        answer = conv3d(x, weight, bias)
    assert seen == {"matmul"}
    assert answer.dtype == torch.bfloat16
    answer.float().sum().backward()
    assert {leaf.grad.dtype for leaf in (x, weight, bias)} == {torch.float32}
    expected = torch.autograd.grad(F.conv3d(x, weight, bias).sum(), (x, weight, bias))
    for leaf, truth in zip((x, weight, bias), expected, strict=True):
        assert (leaf.grad - truth).norm() < 1e-2 * truth.norm()


@pytest.mark.parametrize("case", ["float32", "many voxels", "traced"])
def test_elsewhere_it_is_torchs_convolution_itself(case: str) -> None:
    leaves = parts(side=9 if case == "many voxels" else 4, dtype=torch.float32 if case == "float32" else torch.bfloat16)
    function = conv3d
    if case == "traced":
        function = torch.jit.trace(lambda *given: conv3d(*given), [leaf.detach() for leaf in leaves])
    assert kinds(lambda: function(*leaves)) == {"conv"}
    assert torch.equal(function(*leaves), F.conv3d(*leaves))


def test_types_are_those_that_torchs_convolution_takes() -> None:
    x, weight, bias = (leaf.detach() for leaf in parts(side=4))
    with pytest.raises(RuntimeError, match="type"):
        conv3d(x, weight.float(), bias.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = conv3d(x.double(), weight.double(), bias.double())
    assert answer.dtype == torch.float64
    assert conv3d(x[0], weight, bias).shape == (64, 1, 2, 3)


def test_kernel_larger_than_the_maps_is_refused_as_ever() -> None:
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        conv3d(*parts(side=3))


@pytest.mark.parametrize("variant", ["paper", "tensorflow", "pytorch"])
def test_bottlenecks_of_vox2vox_take_it(variant: str) -> None:
    network = Vox2VoxGenerator(1, 2, variant=variant, width=32).to(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 1, 48, 48, 48).to(memory_format=torch.channels_last_3d)
    convolution = next(layer for layer in network.bottleneck.modules() if isinstance(layer, nn.Conv3d))
    inputs: list[Tensor] = []
    convolution.register_forward_pre_hook(lambda layer, given: inputs.append(given[0].detach()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(x).sum().backward()
        assert kinds(lambda: convolution(inputs[0])) == {"matmul"}
    assert convolution.weight.grad.isfinite().all()
