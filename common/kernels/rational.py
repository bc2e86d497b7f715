"""A rational function of every element, frugal with memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.pieces import piece_size
from common.kernels.switch import enabled

__all__ = ["pade", "rational"]


def pade(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """``(a0 + a1 x + ... + a5 x⁵) / (1 + |b0| |x| + |b1| x² + |b2| |x|³ + |b3| x⁴)`` for every element.

    Computed piece by piece, in the cache, and for the gradient the input alone is kept; a second derivative cannot be
    taken.

    Args:
        x: any shape. Computed in float32 at least, whatever its type.
        numerator: a0 to a5, (6,).
        denominator: b0 to b3, (4,).

    Returns:
        The same shape and type.
    """
    if torch.jit.is_scripting():
        return rational(x, numerator, denominator)
    return _pade(x, numerator, denominator)


def _pade(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    if enabled():
        return _Pade.apply(x, numerator, denominator)
    return rational(x, numerator, denominator)


def rational(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The formula, written out: for what exports the network, and to compare with."""
    wide = x.float()
    r = wide.abs()
    b = b.abs()
    p = ((((a[5] * wide + a[4]) * wide + a[3]) * wide + a[2]) * wide + a[1]) * wide + a[0]
    q = (((b[3] * r + b[2]) * r + b[1]) * r + b[0]) * r + 1.0
    return (p / q).to(x.dtype)


class _Pade(torch.autograd.Function):
    """The same formula piece by piece, and its derivatives computed anew from the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        x = x if x.permute(_order(x)).is_contiguous() else x.contiguous()
        ctx.save_for_backward(x, a, b)
        y = torch.empty_like(x)
        for source, target in zip(_pieces(x), _pieces(y), strict=True):
            p, q = _fraction(source, a, b)
            target.copy_(p.div_(q))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, a, b = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        grad_y = torch.empty_like(x).copy_(grad) if grad.stride() != x.stride() else grad
        sums = torch.zeros(len(a) + len(b), dtype=torch.promote_types(a.dtype, torch.float32), device=a.device)
        for source, inner, outer in zip(_pieces(x), _pieces(grad_y), _pieces(grad_x), strict=True):
            _differentiate(source, inner, a, b, outer, sums)
        return grad_x, sums[: len(a)].to(a.dtype), (-sums[len(a) :] * torch.copysign(torch.ones_like(b), b)).to(b.dtype)


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """Flat views of the elements, as they lie in memory."""
    return iter(x.permute(_order(x)).view(-1).split(piece_size(x.device)))


def _order(x: Tensor) -> list[int]:
    """The axes from the longest stride to the shortest."""
    return sorted(range(x.ndim), key=lambda axis: (x.stride(axis), x.shape[axis]), reverse=True)


def _fraction(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Numerator and denominator, in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    q = _polynomial(x.abs(), [*b.abs().flip(0).unbind(), torch.ones_like(b[0])])
    return _polynomial(x, a.flip(0).unbind()), q


def _polynomial(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """Horner's scheme, highest power first, in one buffer; a multiplication with an addition is one pass over it."""
    highest, second, *others = coefficients
    result = (x * highest).add_(second)
    for coefficient in others:
        torch.addcmul(coefficient, result, x, out=result)
    return result


def _differentiate(x: Tensor, grad: Tensor, a: Tensor, b: Tensor, out: Tensor, sums: Tensor) -> None:
    """Write dL/dx into ``out``, and add to ``sums`` Σ g xᵏ / Q (k = 0 to 5) and Σ g P / Q² |x|ᵏ (k = 1 to 4)."""
    p, q = _fraction(x, a, b)
    x = x.to(p.dtype)
    r = x.abs()
    g = grad / q  # g / Q
    f = p.div_(q).mul_(g)  # g P / Q²
    slope = _polynomial(x, _derivative(a))
    fall = _polynomial(r, _derivative(torch.cat([torch.ones_like(b[:1]), b.abs()])))  # dQ / d|x|
    fall.mul_(torch.sign(x, out=q))
    out.copy_(slope.mul_(g).addcmul_(fall, f, value=-1))
    totals = [g.sum()]
    for _ in range(len(a) - 1):
        totals.append(g.mul_(x).sum())
    for _ in range(len(b)):
        totals.append(f.mul_(r).sum())
    sums += torch.stack(totals)


def _derivative(coefficients: Tensor) -> Sequence[Tensor]:
    """Of a polynomial with these coefficients, lowest power first: its derivative's, highest power first."""
    return [k * coefficients[k] for k in range(len(coefficients) - 1, 0, -1)]
