"""The band around a structure's surface in which OSS-Net draws points (Reich et al., BMVC 2021; their code)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

__all__ = ["BorderMapd", "border_map"]


def border_map(label: np.ndarray, *, radius: int = 6) -> np.ndarray:
    """Voxels near a surface: where a Sobel filter along any axis answers, grown by a cube.

    Args:
        label: ``(D, H, W)``, integers; each value but 0 is a structure with a surface of its own.
        radius: of the cube in voxels; its side is 2 radius + 1, 13 by default.

    Returns:
        bool ``(D, H, W)``; all False where there is no structure, or nothing else.
    """
    from scipy import ndimage

    edges = np.zeros(label.shape, dtype=bool)
    for value in np.unique(label[label != 0]):
        mask = (label == value).astype(np.float32)
        for axis in range(label.ndim):
            edges |= ndimage.sobel(mask, axis=axis, mode="reflect") != 0
    return ndimage.maximum_filter(edges, size=2 * radius + 1)


class BorderMapd(MapTransform):
    """Add the border map of a label; see :func:`border_map`.

    It is deterministic: place it before the random transforms, so that it is cached, and let those that move the label
    move it too.

    Args:
        keys: key of the label, ``(1, D, H, W)``.
        output_key: key of the map, ``(1, D, H, W)``, uint8, with the label's affine.
        radius: see :func:`border_map`.
    """

    def __init__(self, keys: KeysCollection = "label", output_key: str = "border", *, radius: int = 6) -> None:
        super().__init__(keys)
        self.output_key = output_key
        self.radius = radius

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            label = torch.as_tensor(out[key]).cpu().numpy()[0]
            border = border_map(label, radius=self.radius)[None]
            out[self.output_key] = convert_to_dst_type(border, out[key], dtype=torch.uint8)[0]
        return out
