"""The Padé activation unit: values of the specification, derivatives by finite differences, memory, layouts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.kernels.pieces import PIECE
from common.networks.oss_net.activation import PadeActivation, pade_groups


def by_the_formula(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    numerator = sum(a[k] * x**k for k in range(6))
    return numerator / (1 + sum((b[k] * x ** (k + 1)).abs() for k in range(4)))


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0335584), (1.0, 1.0008112), (-1.0, -0.0091887)])
def test_starts_as_the_plan_of_leaky_relu(x, y):
    assert PadeActivation()(torch.tensor([x])).item() == pytest.approx(y, abs=1e-6)


def test_tends_to_a_straight_line():
    assert PadeActivation()(torch.tensor([1e6, -1e6])).tolist() == pytest.approx([505000, -505000], rel=1e-3)


def test_derivatives_are_those_of_finite_differences():
    unit = PadeActivation().double()
    x = torch.linspace(-3, 3, 24, dtype=torch.float64, requires_grad=True).reshape(2, 3, 4)
    coefficients = [p.detach() + 0.1 for p in unit.parameters()]
    coefficients[1][2] = -0.4  # a negative coefficient of the denominator
    coefficients = [c.requires_grad_() for c in coefficients]

    def call(x, a, b):
        return torch.func.functional_call(unit, {"numerator": a, "denominator": b}, (x,))

    assert torch.autograd.gradcheck(call, (x, *coefficients))


def test_the_denominators_derivative_at_zero_is_that_of_positive_coefficients():
    unit = PadeActivation()
    with torch.no_grad():
        unit.denominator.zero_()
    unit(torch.tensor([2.0])).sum().backward()
    numerator = sum(unit.numerator[k].item() * 2**k for k in range(6))
    assert unit.denominator.grad.tolist() == pytest.approx([-numerator * 2**k for k in (1, 2, 3, 4)], rel=1e-5)


@pytest.mark.parametrize("count", [0, 1, PIECE["cpu"], 2 * PIECE["cpu"] + 5])
def test_works_in_pieces_of_any_number_of_elements(count):
    unit, x = PadeActivation(), torch.randn(count, requires_grad=True)
    y = unit(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    expected = by_the_formula(x, unit.numerator, unit.denominator)
    (expected_grad,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(grad, expected_grad)


def test_takes_other_memory_layouts_and_gradients_of_another_layout():
    unit = PadeActivation()
    x = torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d).requires_grad_()
    y, expected = unit(x), by_the_formula(x, unit.numerator, unit.denominator)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(y, expected)
    weights = torch.randn(2, 3, 4, 5, 6)
    (grad,) = torch.autograd.grad((y * weights).sum(), x)
    torch.testing.assert_close(grad, torch.autograd.grad((expected * weights).sum(), x)[0])


def test_takes_slices_of_larger_tensors():
    unit, x = PadeActivation(), torch.randn(4, 8, 8)
    torch.testing.assert_close(unit(x[:, ::2, 1:5]), by_the_formula(x[:, ::2, 1:5], unit.numerator, unit.denominator))


def test_powers_of_half_precision_do_not_overflow():
    y = PadeActivation()(torch.tensor([100.0], dtype=torch.float16))
    assert y.dtype == torch.float16
    assert y.item() == pytest.approx(
        by_the_formula(torch.tensor(100.0), *PadeActivation().parameters()).item(), rel=2e-3
    )


def test_keeps_nothing_but_its_input_for_the_gradient():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        PadeActivation()(torch.randn(1000, requires_grad=True))
    assert sorted(t.numel() for t in kept) == [4, 6, 1000]


def test_scripted_equals_eager():
    unit, x = PadeActivation(), torch.randn(100)
    torch.testing.assert_close(torch.jit.script(unit)(x), unit(x))


def test_groups_tell_the_coefficients_from_the_rest():
    network = nn.Sequential(nn.Linear(2, 3), PadeActivation(), nn.Linear(3, 1, bias=False), PadeActivation())
    rest, coefficients = pade_groups(network, learning_rate=1e-2)
    assert [p.numel() for p in rest["params"]] == [6, 3, 3]
    assert [p.numel() for p in coefficients["params"]] == [6, 4, 6, 4]
    assert coefficients["lr"] == 1e-2 and "lr" not in rest
