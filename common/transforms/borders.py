"""The band around a structure's surface in which OSS-Net draws points (Reich et al., BMVC 2021; their code)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from common.transforms.boxes import mask_box

__all__ = ["BorderMapd", "border_map"]


def border_map(mask: np.ndarray, *, radius: int = 6) -> np.ndarray:
    """Voxels near a structure's surface: where a Sobel filter along any axis answers, grown by a cube.

    Args:
        mask: ``(D, H, W)``, of any type; the structure is where it is not 0.
        radius: of the cube in voxels; its side is 2 radius + 1, 13 by default.

    Returns:
        bool ``(D, H, W)``; all False where there is no structure, or nothing else.
    """
    from scipy import ndimage

    band = np.zeros(mask.shape, dtype=bool)
    box = mask_box(mask != 0)
    if box is None:
        return band
    reach = radius + 1
    around = tuple(slice(max(first - reach, 0), stop + reach) for first, stop in zip(box.start, box.stop, strict=True))
    part = (mask[around] != 0).astype(np.float32)
    edges = np.zeros(part.shape, dtype=bool)
    for axis in range(part.ndim):
        edges |= ndimage.sobel(part, axis=axis, mode="reflect") != 0
    band[around] = ndimage.maximum_filter(edges, size=2 * radius + 1)
    return band


class BorderMapd(MapTransform):
    """Add the border maps of a label's structures; see :func:`border_map`.

    It is deterministic: place it before the random transforms, so that it is cached, and let those that move the label
    move it too.

    Args:
        keys: key of the label, ``(1, D, H, W)``.
        output_key: key of the maps, ``(S, D, H, W)``, uint8, with the label's affine: one for each structure or region.
        values: the label values of each; one that holds 0 is the background, which has no surface of its own.
        radius: see :func:`border_map`.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        output_key: str = "border",
        *,
        values: Sequence[Sequence[int]],
        radius: int = 6,
    ) -> None:
        super().__init__(keys)
        self.values = [list(own) for own in values if 0 not in own]
        self.output_key = output_key
        self.radius = radius

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            label = torch.as_tensor(out[key]).cpu().numpy()[0]
            border = np.stack([border_map(np.isin(label, own), radius=self.radius) for own in self.values])
            out[self.output_key] = convert_to_dst_type(border, out[key], dtype=torch.uint8)[0]
        return out
