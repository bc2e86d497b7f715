"""A network that sees every crop on the same grid, whatever its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import ensure_tuple_rep
from torch import Tensor

from common.inferers.coarse_to_fine import check_finite
from common.transforms.aligned import resize_aligned

__all__ = ["FixedGridInferer"]


class FixedGridInferer(Inferer):
    """Resize to a fixed grid, normalise, run another inferer, and bring its logits back (EfficientSegNet, section 4.2).

    Both ways corners are aligned (:func:`~common.transforms.resize_aligned`), on the input's device. The logits come
    back channel by channel; with a threshold each becomes a mask at once: a byte for a voxel instead of four.

    Args:
        size: sides of the grid in voxels, one for all axes or (D, H, W); 192 in EfficientSegNet's fine stage.
        normalise: ``(C, *size)`` -> network input.
        inferer: does the work on the grid; a plain forward pass by default.
        threshold: the answer is the masks of logits that are at least this, 0 for a probability of one half; None: the
            answer is the logits.

    Raises:
        ValueError: if a logit is not finite: thresholded, it would pass for background.

    Shape:
        ``(B, C, D, H, W)`` to ``(B, K, D, H, W)``, float32 or boolean.
    """

    def __init__(
        self,
        size: Sequence[int] | int,
        *,
        normalise: Callable[[Tensor], Tensor] | None = None,
        inferer: Inferer | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.size = ensure_tuple_rep(size, 3)
        self.normalise = normalise
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.threshold = threshold

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        grids = torch.stack([self._on_grid(volume) for volume in inputs])
        logits = torch.as_tensor(self.inferer(grids, network, *args, **kwargs)).float()  # (B, K, *size)
        check_finite(logits)
        dtype = torch.float32 if self.threshold is None else torch.bool
        answer = torch.empty((*logits.shape[:2], *inputs.shape[2:]), dtype=dtype, device=inputs.device)
        for source, target in zip(logits.flatten(0, 1), answer.flatten(0, 1), strict=True):
            full = resize_aligned(source[None], target.shape)[0]
            target[:] = full if self.threshold is None else full >= self.threshold
        return answer

    def _on_grid(self, volume: Tensor) -> Tensor:
        grid = resize_aligned(volume.float(), self.size)
        return grid if self.normalise is None else self.normalise(grid)
