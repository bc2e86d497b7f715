"""Between label maps and the channels of a network that answers for several structures or regions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import get_track_meta
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor

from common.classes import IGNORED

__all__ = ["ChannelsOfLabeld", "LabelOfChannelsd", "StructureMasksd", "channels_of_label"]


def channels_of_label(label: Tensor, values: Sequence[Sequence[int]], ignore: int | None = None) -> Tensor:
    """A mask for each channel of a network.

    Args:
        label: values, of any shape.
        values: the label values of each of the K channels.
        ignore: the value of voxels that nobody labeled.

    Returns:
        uint8 ``(K, *shape)``: 1 where the label has one of the channel's values, 0 elsewhere, and 255 in all channels
        where it is ``ignore``.
    """
    masks = [torch.isin(label, torch.tensor(own, dtype=label.dtype, device=label.device)) for own in values]
    channels = torch.stack(masks).to(torch.uint8)
    if ignore is not None:
        channels[:, label == ignore] = IGNORED
    return channels


class ChannelsOfLabeld(MapTransform):
    """Replace label maps by a mask for each channel of the network: :func:`channels_of_label`.

    Args:
        keys: label maps ``(1, D, H, W)``.
        values: the label values of each channel: of each structure or region, and of the background first where the
            channels are classes.
        ignore: the value of voxels that nobody labeled.

    Returns:
        uint8 ``(K, D, H, W)``, 0, 1, or 255 for not known.
    """

    def __init__(
        self, keys: Sequence[Hashable] | Hashable, *, values: Sequence[Sequence[int]], ignore: int | None = None
    ) -> None:
        super().__init__(keys)
        self.values = [list(own) for own in values]
        self.ignore = ignore

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            label = torch.Tensor.as_subclass(torch.as_tensor(out[key]), torch.Tensor)
            out[key] = convert_to_dst_type(channels_of_label(label[0], self.values, self.ignore), out[key])[0]
        return out


class StructureMasksd(MapTransform):
    """Logits and targets become masks of the structures or regions, without the background, for a Dice.

    What is not known (255 in the target) is in no mask of either.

    Args:
        keys: of the logits and of the target, ``(K, ...)`` each.
        output: ``"sigmoid"``: each channel is where its logit is above 0; ``"softmax"``: channels are classes, the
            first the background, of which the largest logit counts.

    Returns:
        float32 ``(K, ...)``, with a softmax ``(K - 1, ...)``.
    """

    def __init__(self, keys: Sequence[Hashable] = ("pred", "label"), *, output: str) -> None:
        super().__init__(keys)
        self.output = output

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        pred, label = (torch.Tensor.as_subclass(torch.as_tensor(out[key]), torch.Tensor) for key in self.keys)
        known, true = label[0] != IGNORED, label == 1
        if self.output == "softmax":
            best = pred.argmax(dim=0)
            found = torch.stack([best == channel for channel in range(1, len(pred))])
            true = true[1:]
        else:
            found = pred > 0
        for key, masks in zip(self.keys, (found & known.to(found.device), true & known), strict=True):
            out[key] = masks.float()
        return out


class LabelOfChannelsd(MapTransform):
    """Logits become a label map.

    Args:
        keys: logits ``(K, D, H, W)``.
        output: as for :class:`StructureMasksd`.
        values: the label value to write for each channel. Regions are painted in this order, so that a later one lies
            over an earlier one (nnU-Net's ``regions_class_order``).

    Returns:
        uint8 ``(1, D, H, W)``, with the logits' metadata.

    Raises:
        ValueError: for another number of channels than of values.
    """

    def __init__(self, keys: Sequence[Hashable] | Hashable, *, output: str, values: Sequence[int]) -> None:
        super().__init__(keys)
        self.output = output
        self.values = list(values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            given = convert_to_tensor(out[key], track_meta=get_track_meta())
            logits = torch.Tensor.as_subclass(given, torch.Tensor)
            if len(logits) != len(self.values):
                raise ValueError(f"{key}: {len(logits)} channels, expected {len(self.values)}: {self.values}")
            if self.output == "softmax":
                labels = torch.tensor(self.values, dtype=torch.uint8, device=logits.device)[logits.argmax(dim=0)]
            else:
                labels = torch.zeros_like(logits[0], dtype=torch.uint8)
                for value, channel in zip(self.values, logits, strict=True):
                    labels[channel > 0] = value
            out[key] = convert_to_dst_type(labels[None], given, dtype=torch.uint8)[0]
        return out
