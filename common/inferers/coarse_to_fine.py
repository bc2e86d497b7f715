"""Locate a structure on a coarse grid, segment it in a crop, answer on the whole volume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from common.transforms.boxes import Box, centred_window

__all__ = ["CoarseToFineInferer"]

logger = logging.getLogger(__name__)


class CoarseToFineInferer(Inferer):
    """Two networks as one inferer, for MONAI's stock evaluator.

    Per volume: ``locate`` gives the box of the structure, a window around it is cut out, normalised and segmented with
    the evaluator's network, and the logits are pasted into a volume of background. Without ``locate`` the window is the
    whole volume: for scans that are already cut to the structure.

    Args:
        locate: ``(C, D, H, W)`` volume -> :class:`~common.transforms.Box` in its voxels, or None where nothing was
            found (the window is then centred on the volume, with a warning); for example
            :class:`~common.inferers.Locator`.
        size: sides of the window in voxels, (D, H, W); None takes the box as it is.
        normalise: ``(C, D, H, W)`` crop -> network input, for example ``monai.transforms.NormalizeIntensity``.
        inferer: how the fine network runs on the crop ``(1, C, d, h, w)``: sliding window, padding, mixed precision.
        background: magnitude of the logits outside the window. One output channel: ``-background``; several: class 0
            gets ``+background``, the others ``-background``.

    Raises:
        ValueError: if a logit is not finite: thresholded, it would pass for background.

    Shape:
        ``(B, C, D, H, W)`` to float32 logits ``(B, K, D, H, W)``.
    """

    def __init__(
        self,
        locate: Callable[[Tensor], Box | None] | None = None,
        *,
        size: Sequence[int] | None = None,
        normalise: Callable[[Tensor], Tensor] | None = None,
        inferer: Inferer | None = None,
        background: float = 30.0,
    ) -> None:
        super().__init__()
        self.locate = locate
        self.size = None if size is None else tuple(size)
        self.normalise = normalise
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.background = background

    def __call__(self, inputs: Tensor, network: nn.Module) -> Tensor:
        return torch.cat([self._one(volume, network) for volume in inputs])

    def _one(self, volume: Tensor, network: nn.Module) -> Tensor:
        frame = volume.shape[1:]
        window = self._window(volume)
        crop = volume[(slice(None), *window.slices)]  # (C, d, h, w)
        if self.normalise is not None:
            crop = self.normalise(crop)
        logits = torch.as_tensor(self.inferer(crop[None], network)).float()  # (1, K, d, h, w)
        if not torch.isfinite(logits).all():
            raise ValueError(
                "the network's output is not finite: look for NaN or infinite values in the image, or try --amp False"
            )
        if window.shape == tuple(frame):
            return logits
        whole = logits.new_full((1, logits.shape[1], *frame), -self.background)
        if logits.shape[1] > 1:
            whole[:, 0] = self.background
        whole[(slice(None), slice(None), *window.slices)] = logits
        return whole

    def _window(self, volume: Tensor) -> Box:
        frame = Box.whole(volume.shape[1:])
        if self.locate is None:
            return frame
        box = self.locate(volume)
        if box is None:
            logger.warning("the locator found nothing: the window is centred on the volume")
            box = frame
        return box if self.size is None else centred_window(box, self.size, frame.shape)
