"""A volume cut into a grid of patches, predicted patch by patch and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference
from monai.utils import convert_to_dst_type, ensure_tuple_rep
from torch import Tensor

__all__ = ["GridInferer", "patch_starts"]

MODES = ("crop", "average", "hann")


class GridInferer(Inferer):
    """Predict patches that overlap by a number of voxels, and merge them as TorchIO's grid aggregator does.

    Per axis, patches start every ``roi_size - overlap`` voxels; the last one is shifted back to end with the volume
    (:func:`patch_starts`). The result does not depend on ``sw_batch_size``.

    Args:
        roi_size: sides of a patch in voxels, one for all axes or (D, H, W).
        overlap: voxels that neighboring patches share, even, smaller than the patch; one for all axes or (D, H, W).
        mode: how overlapping patches merge:

            - ``"crop"``: a patch loses half the overlap at every side that is not the volume's border; where trimmed
              patches still meet (at shifted ones), the later one counts. Only what counts is copied.
            - ``"average"``: the mean of all patches that cover a voxel.
            - ``"hann"``: their mean with the weights of a Hann window of ``roi_size + 2`` points without its two zeros.
        sw_batch_size: patches that pass through the network at a time.
        device: where the result is put together; None takes the inputs'.

    Raises:
        ValueError: for another ``mode``, an overlap that is odd or as large as the patch, and when called with a volume
            smaller than the patch.

    Shape:
        ``(B, C, D, H, W)`` to ``(B, K, D, H, W)`` of the inputs' type; the network must keep the sides of a patch.

    Example:
        >>> inferer = GridInferer(96, overlap=8)  # 27 patches for 256 × 256 × 200
        >>> [patch_starts(n, 96, 8) for n in (256, 200)]
        [[0, 88, 160], [0, 88, 104]]
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int,
        *,
        overlap: Sequence[int] | int = 0,
        mode: str = "crop",
        sw_batch_size: int = 4,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        self.roi_size = ensure_tuple_rep(roi_size, 3)
        self.overlap = ensure_tuple_rep(overlap, 3)
        for patch, shared in zip(self.roi_size, self.overlap, strict=True):
            if shared % 2 or not 0 <= shared < patch:
                raise ValueError(f"overlap must be even and from 0 to below the patch of {patch} voxels, got {shared}")
        self.mode = mode
        self.sw_batch_size = sw_batch_size
        self.device = device

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if any(n < p for n, p in zip(inputs.shape[2:], self.roi_size, strict=True)):
            raise ValueError(
                f"the volume of {tuple(inputs.shape[2:])} voxels is smaller than the patch of {self.roi_size}: "
                "pad the volume or choose a smaller roi_size"
            )

        def predict(patches: Tensor) -> Tensor:
            return network(patches, *args, **kwargs)

        if self.mode == "crop":
            return self._crop(inputs, predict)
        # half a voxel less: the fraction times the patch is then cut down to the whole number it came from
        fractions = [max(o - 0.5, 0) / p for o, p in zip(self.overlap, self.roi_size, strict=True)]
        return sliding_window_inference(
            inputs,
            self.roi_size,
            self.sw_batch_size,
            predict,
            fractions,
            device=self.device,
            roi_weight_map=_hann(self.roi_size) if self.mode == "hann" else None,
        )

    def _crop(self, inputs: Tensor, predict: Callable[[Tensor], Tensor]) -> Tensor:
        volume = torch.Tensor.as_subclass(inputs, torch.Tensor)
        axes = [_owned(*sides) for sides in zip(volume.shape[2:], self.roi_size, self.overlap, strict=True)]
        places = [(b, *owned) for b in range(len(volume)) for owned in product(*axes)]
        output = None
        for batch in _chunks(places, self.sw_batch_size):
            patches = torch.stack([volume[(b, slice(None), *(o.patch for o in owned))] for b, *owned in batch])
            predicted = predict(patches)  # (n, K, *roi_size)
            if output is None:
                shape = (len(volume), predicted.shape[1], *volume.shape[2:])
                output = volume.new_empty(shape, device=self.device or volume.device)
            for (b, *owned), patch in zip(batch, predicted, strict=True):
                output[(b, slice(None), *(o.volume for o in owned))] = patch[(slice(None), *(o.within for o in owned))]
        return convert_to_dst_type(output, inputs, device=output.device, dtype=output.dtype)[0]


@dataclass(frozen=True)
class _Owned:
    """Along one axis: a patch, and the part of the volume that gets its values from this patch alone."""

    patch: slice
    volume: slice

    @property
    def within(self) -> slice:
        """The part, counted from the patch's start."""
        return slice(self.volume.start - self.patch.start, self.volume.stop - self.patch.start)


def patch_starts(side: int, patch: int, overlap: int) -> list[int]:
    """First voxels of the patches along an axis of ``side`` voxels: evenly spaced, the last one shifted to fit."""
    starts = list(range(0, side - patch + 1, patch - overlap))
    return starts if starts[-1] == side - patch else [*starts, side - patch]


def _owned(side: int, patch: int, overlap: int) -> list[_Owned]:
    """The crop rule, axis by axis: a voxel belongs to the last patch whose trimmed range holds it.

    Trimmed ranges begin and end in the order of the patches and leave no gap, so each one counts up to where the next
    begins.
    """
    starts = patch_starts(side, patch, overlap)
    begins = [0] + [s + overlap // 2 for s in starts[1:]] + [side]
    return [_Owned(slice(s, s + patch), slice(a, b)) for s, (a, b) in zip(starts, pairwise(begins), strict=True)]


def _chunks(items: list, size: int) -> Iterator[list]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _hann(roi_size: Sequence[int]) -> Tensor:
    """Weights (D, H, W) of a patch: the product of symmetric Hann windows without their zero end points."""
    d, h, w = (torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1] for n in roi_size)
    return (d[:, None, None] * h[None, :, None] * w[None, None, :]).float()
