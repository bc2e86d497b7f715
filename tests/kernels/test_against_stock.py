"""Every kernel against the stock operation, in value and gradient, in float32, bfloat16 and float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common import kernels
from common.kernels.patches import patch_conv_index
from common.networks.oss_net.activation import DENOMINATOR, NUMERATOR

LAST = torch.channels_last_3d
TYPES = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float64: 1e-10}  # relative to the largest value


def maps(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).contiguous(memory_format=LAST)


def instance_norm() -> tuple[Callable[..., Tensor], list[Tensor]]:
    return lambda x, weight, bias: kernels.instance_norm(3 * x + 1, weight, bias), [
        maps(2, 5, 6, 7, 8),
        torch.randn(5, dtype=torch.float64),
        torch.randn(5, dtype=torch.float64),
    ]


def conditional_norm() -> tuple[Callable[..., Tensor], list[Tensor]]:
    def operation(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        running = torch.zeros(1), torch.ones(1)
        y = kernels.conditional_norm(x, gamma, beta, *running, training=True)
        return y + (running[0] + running[1]).to(y.dtype)  # the running statistics are compared too

    return operation, [torch.randn(2, 300, 8).double(), torch.randn(2, 8).double(), torch.randn(2, 8).double()]


def pade() -> tuple[Callable[..., Tensor], list[Tensor]]:
    return kernels.pade, [maps(2, 3, 4, 5, 6), torch.tensor(NUMERATOR).double(), torch.tensor(DENOMINATOR).double()]


def conv3d() -> tuple[Callable[..., Tensor], list[Tensor]]:
    return lambda x, weight, bias: kernels.conv3d(x, weight, bias, padding=1), [
        maps(1, 32, 3, 2, 2),
        torch.randn(512, 32, 4, 4, 4).double() / 45,
        torch.randn(512).double(),
    ]


def patch_conv() -> tuple[Callable[..., Tensor], list[Tensor]]:
    index = patch_conv_index(5)
    return lambda x, weight, bias: kernels.patch_conv(x, weight, bias, index), [
        torch.randn(9, 2 * 125).double(),
        torch.randn(3, 2, 5, 5, 5).double() / 16,
        torch.randn(3).double(),
    ]


def dense_gradient() -> tuple[Callable[..., Tensor], list[Tensor]]:
    def operation(x: Tensor, skip: Tensor) -> Tensor:
        large = F.interpolate(x, scale_factor=2, mode="trilinear")
        return torch.cat([kernels.dense_gradient(large), skip], dim=1).square()

    return operation, [maps(2, 4, 3, 4, 5), maps(2, 3, 6, 8, 10)]


def softmax_stored_like() -> tuple[Callable[..., Tensor], list[Tensor]]:
    return lambda x: kernels.stored_like(x.softmax(dim=1), x), [maps(2, 4, 3, 4, 5)]


def float32_linear() -> tuple[Callable[..., Tensor], list[Tensor]]:
    return kernels.float32_linear, [torch.randn(4, 6, 3).double(), torch.randn(8, 3).double()]


def adaptive_max_pool3d() -> tuple[Callable[..., Tensor], list[Tensor]]:
    return lambda x: kernels.adaptive_max_pool3d(x, [2, 3, 2]), [maps(2, 3, 5, 6, 7)]


KERNELS = [
    instance_norm,
    conditional_norm,
    pade,
    conv3d,
    patch_conv,
    dense_gradient,
    softmax_stored_like,
    float32_linear,
    adaptive_max_pool3d,
]


def value_and_gradients(operation: Callable[..., Tensor], inputs: list[Tensor], weights: Tensor | None) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = operation(*leaves)
    (y * (torch.ones_like(y) if weights is None else weights.to(y.dtype))).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_a_kernel_gives_the_stock_operations_value_and_gradients(kernel: Callable, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    operation, inputs = kernel()
    wide = torch.promote_types(dtype, torch.float32) if kernel in (instance_norm, conditional_norm, pade) else dtype
    inputs = [x.to(wide if n else dtype) for n, x in enumerate(inputs)]  # parameters of norms stay float32
    with kernels.stock():
        weights = torch.randn_like(operation(*inputs).double())
        expected = value_and_gradients(operation, inputs, weights)
    for ours, theirs in zip(value_and_gradients(operation, inputs, weights), expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        tolerance = max(TYPES[dtype], 1e-5 if kernel in (conditional_norm, pade) else 0)  # these compute in float32
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_fused_step_is_the_stock_one(optimizer: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weights = maps(4, 3, 2, 2, 2).to(dtype)
    gradients = [torch.randn_like(weights) for _ in range(3)]
    ends = []
    for stock in (False, True):
        weight = torch.nn.Parameter(weights.clone(memory_format=torch.preserve_format))
        steps = getattr(kernels, optimizer)([weight], lr=0.1, weight_decay=0.01, fused=True)
        for gradient in gradients:
            weight.grad = gradient.clone()
            if stock:
                with kernels.stock():
                    steps.step()
            else:
                steps.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def test_the_switch_goes_back_to_what_it_was() -> None:
    with kernels.stock():
        assert not kernels.enabled()
        with kernels.stock():
            pass
        assert not kernels.enabled()
    assert kernels.enabled()


def test_without_kernels_a_network_lies_in_contiguous_memory() -> None:
    network = torch.nn.Conv3d(3, 4, 2)
    try:
        assert kernels.on_device(network, "cpu", kernels=False).weight.is_contiguous() and not kernels.enabled()
        assert kernels.on_device(network, "cpu").weight.is_contiguous(memory_format=LAST) and kernels.enabled()
    finally:
        kernels.use(True)
