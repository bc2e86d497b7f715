"""Networks whose sides must be multiples of something, on volumes whose sides are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.inferers import Inferer, SimpleInferer
from torch import Tensor

from common.transforms.coarse_grid import pad_to_multiple

__all__ = ["DivisiblePadInferer"]


class DivisiblePadInferer(Inferer):
    """Run another inferer with a network that takes inputs of any size.

    What reaches the network, a window or the whole volume, is padded at the far ends to multiples of ``divisor``, and
    its answer cut back.

    Args:
        inferer: does the work; a plain forward pass by default.
        divisor: what every side must be a multiple of, 8 after three poolings.
        value: padded voxels, in the network's units; air for CT.

    Shape:
        ``(B, C, D, H, W)`` to ``(B, K, D, H, W)``.
    """

    def __init__(self, inferer: Inferer | None = None, *, divisor: int = 8, value: float = 0.0) -> None:
        super().__init__()
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.divisor = divisor
        self.value = value

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        def padded(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            d, h, w = x.shape[2:]
            return network(pad_to_multiple(x, self.divisor, value=self.value), *args, **kwargs)[..., :d, :h, :w]

        return self.inferer(inputs, padded, *args, **kwargs)
