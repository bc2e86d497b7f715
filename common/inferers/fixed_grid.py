"""A network that sees every crop on the same grid, whatever its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import ensure_tuple_rep
from torch import Tensor

from common.inferers.finite import check_finite
from common.transforms.aligned import resize_aligned
from common.transforms.boxes import mask_box

__all__ = ["FixedGridInferer"]


class FixedGridInferer(Inferer):
    """Resize to a fixed grid, normalize, run another inferer, and bring its logits back (EfficientSegNet, section 4.2).

    Both ways corners are aligned (:func:`~common.transforms.resize_aligned`), on the input's device. The logits come
    back channel by channel. With a threshold they become masks at once, and only the part of the crop is interpolated
    in which a channel can reach it: a byte for a voxel instead of four, and a fraction of the time.

    Args:
        size: sides of the grid in voxels, one for all axes or (D, H, W); 192 in EfficientSegNet's fine stage.
        normalize: ``(C, *size)`` -> network input.
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
        normalize: Callable[[Tensor], Tensor] | None = None,
        inferer: Inferer | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.size = ensure_tuple_rep(size, 3)
        self.normalize = normalize
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.threshold = threshold

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        grids = torch.stack([self._on_grid(volume) for volume in inputs])
        logits = torch.as_tensor(self.inferer(grids, network, *args, **kwargs)).float()  # (B, K, *size)
        check_finite(logits)
        shape = tuple(inputs.shape[2:])
        if self.threshold is None:
            return torch.stack([torch.cat([resize_aligned(c[None], shape) for c in item]) for item in logits])
        return torch.stack([torch.stack([_mask(c, shape, self.threshold) for c in item]) for item in logits])

    def _on_grid(self, volume: Tensor) -> Tensor:
        grid = resize_aligned(volume.float(), self.size)
        return grid if self.normalize is None else self.normalize(grid)


def _mask(logits: Tensor, shape: Sequence[int], threshold: float) -> Tensor:
    """Where ``resize_aligned`` of one channel (d, h, w) is at least ``threshold``: boolean, of ``shape``."""
    mask = torch.zeros(tuple(shape), dtype=torch.bool, device=logits.device)
    source = mask_box(logits >= threshold)
    if source is None:  # no mean of smaller values reaches it
        return mask
    places, weights = zip(
        *(
            _weights(first, stop, side, target, logits.device)
            for first, stop, side, target in zip(source.start, source.stop, logits.shape, shape, strict=True)
        ),
        strict=True,
    )
    z, y, x = weights  # each (voxels of the mask, voxels of the grid around the box)
    around = [slice(max(first - 1, 0), stop + 1) for first, stop in zip(source.start, source.stop, strict=True)]
    with torch.autocast(logits.device.type, enabled=False):
        values = torch.tensordot(z, logits[tuple(around)], dims=1)  # (D', h, w)
        values = y @ values @ x.T  # (D', H', W')
    mask[places] = values >= threshold
    return mask


def _weights(first: int, stop: int, side: int, target: int, device: torch.device) -> tuple[slice, Tensor]:
    """Linear interpolation along an axis, with aligned corners, at the voxels that [first, stop) has a part in.

    The axis has ``side`` voxels on the grid and ``target`` in the answer. Returns which of these, and for each a row of
    weights of the grid's voxels from ``first - 1`` to ``stop``, as far as there are any.
    """
    place = torch.linspace(0, side - 1, target, dtype=torch.float64, device=device)  # of each voxel on the grid
    if target == 1:
        place = place.new_zeros(1)
    near = torch.nonzero((place > first - 1) & (place < stop)).flatten()
    voxels = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)
    grid = torch.arange(max(first - 1, 0), min(stop + 1, side), device=device)
    return voxels, (1 - (place[voxels, None] - grid).abs()).clamp(min=0).float()
