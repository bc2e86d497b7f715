"""Locate a structure on a coarse grid, segment it in a crop, answer on the whole volume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from common.costs import timed
from common.inferers.finite import check_finite
from common.transforms.boxes import Box, centered_box

__all__ = ["CoarseToFineInferer"]

logger = logging.getLogger(__name__)

OUTSIDE = 30.0  # magnitude of the logits outside the box


class CoarseToFineInferer(Inferer):
    """Two networks as one inferer, for MONAI's stock evaluator.

    Per volume: ``locate`` gives the box of the structure, a box around it is cut out, normalized and segmented with
    the evaluator's network, and the logits are pasted into a volume of background. Without ``locate`` the box is the
    whole volume: for scans that are already cut to the structure.

    Args:
        locate: ``(C, D, H, W)`` volume -> :class:`~common.transforms.Box` in its voxels, or None where nothing was
            found (the box is then centered on the volume, or without ``size`` all of it, with a warning); for example
            :class:`~common.inferers.Locator`.
        size: sides of the box in voxels, (D, H, W); None takes the box as it is.
        normalize: ``(C, D, H, W)`` crop -> network input, for example ``monai.transforms.NormalizeIntensity``.
        inferer: how the fine network runs on the crop ``(1, C, d, h, w)``: sliding window, padding, mixed precision, or
            a :class:`~common.inferers.FixedGridInferer`, whose answer may be masks instead of logits.
        background_channel: the channel that wins outside the box, where channels exclude each other (softmax); None:
            no channel does (sigmoid).
        device: where the crop is segmented; None: where the volume lies.
        low_memory: volume and answer stay on the CPU, only the crop goes to the device; CUDA's cache is emptied after
            each stage. Slower, the results are the same; nothing changes on a CPU.

    Raises:
        ValueError: if a logit is not finite: thresholded, it would pass for background.

    Shape:
        ``(B, C, D, H, W)`` to float32 logits or boolean masks ``(B, K, D, H, W)``. With the volumes' meta, if they have
        any; ``meta["box"]`` then says where the boxes were, ``(B, 2, 3)``: first voxel, and last plus one.
    """

    def __init__(
        self,
        locate: Callable[[Tensor], Box | None] | None = None,
        *,
        size: Sequence[int] | None = None,
        normalize: Callable[[Tensor], Tensor] | None = None,
        inferer: Inferer | None = None,
        background_channel: int | None = None,
        device: torch.device | str | None = None,
        low_memory: bool = False,
    ) -> None:
        super().__init__()
        if low_memory is not True and low_memory is not False:
            raise ValueError(f"low_memory must be True or False (capitalized on the command line), got {low_memory!r}")
        self.locate = locate
        self.size = None if size is None else tuple(size)
        self.normalize = normalize
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.background_channel = background_channel
        self.device = device
        self.low_memory = low_memory

    def __call__(self, inputs: Tensor, network: nn.Module) -> Tensor:
        device = inputs.device if self.device is None else torch.device(self.device)
        volumes = inputs.cpu() if self.low_memory else inputs
        boxes, answers = [], []
        for volume in volumes:
            boxes.append(self._box(volume))
            self._empty_cache(device)
            with timed("fine"):
                answers.append(self._segment(volume, boxes[-1], network, device))
            self._empty_cache(device)
        answer = answers[0] if len(answers) == 1 else torch.cat(answers)  # (B, K, D, H, W)
        if not isinstance(inputs, MetaTensor):
            return answer
        answer = MetaTensor(answer).copy_meta_from(inputs)
        answer.meta["box"] = torch.tensor([[box.start, box.stop] for box in boxes])
        return answer

    def _segment(self, volume: Tensor, box: Box, network: nn.Module, device: torch.device) -> Tensor:
        shape = tuple(volume.shape[1:])
        crop = volume[(slice(None), *box.slices)].to(device)  # (C, d, h, w)
        if self.normalize is not None:
            crop = self.normalize(crop)
        answer = torch.as_tensor(self.inferer(crop[None], network))  # (1, K, d, h, w)
        answer = torch.Tensor.as_subclass(answer, torch.Tensor)
        if answer.dtype != torch.bool:
            answer = answer.float()
            check_finite(answer)
        if box.shape == shape:
            return answer.to(volume.device)
        logits = answer.dtype != torch.bool
        whole = torch.full(
            (1, answer.shape[1], *shape), -OUTSIDE if logits else False, dtype=answer.dtype, device=volume.device
        )
        if self.background_channel is not None:
            whole[:, self.background_channel] = OUTSIDE if logits else True
        whole[(slice(None), slice(None), *box.slices)] = answer.to(volume.device)
        return whole

    def _box(self, volume: Tensor) -> Box:
        whole = Box.whole(volume.shape[1:])
        if self.locate is None:
            return whole
        box = self.locate(volume)
        if box is None:
            where = "all of the volume" if self.size is None else "centered on the volume"
            name = getattr(volume, "meta", {}).get("filename_or_obj", "a volume without a name")
            logger.warning("%s: the locator found nothing: the box is %s", name, where)
            box = whole
        return box if self.size is None else centered_box(box, self.size, whole.shape)

    def _empty_cache(self, device: torch.device) -> None:
        if self.low_memory and device.type == "cuda":
            torch.cuda.empty_cache()
