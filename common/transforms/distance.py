"""Signed distance maps of labels, for the boundary loss (Kervadec et al., arXiv 1812.07032)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from common.classes import class_maps

__all__ = ["SignedDistanceMapd", "WithDistanceMapd", "signed_distance"]


def signed_distance(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Euclidean distance to the object outside (positive), and to the background inside (negative or 0).

    Distances lie between voxel centers. Inside, the smallest spacing is taken off, so that the object's outermost
    voxels have 0, as in the paper's "distance - 1" in voxels. Its authors take off 1 whatever the spacing, which for
    voxels of less than 1 mm makes the border positive, hence background; here the map in mm of isotropic voxels is the
    map in voxels times the spacing. In anisotropic voxels an outermost voxel whose background neighbors all lie along
    a coarser axis has the (negative) difference of the spacings.

    Args:
        mask: bool ``(D, H, W)``, True in the object.
        spacing: distance between voxel centers along each axis.

    Returns:
        float32 ``(D, H, W)`` in the unit of ``spacing``; all 0 where the mask is empty or fills the volume, since
        there is no border then.
    """
    import edt

    if mask.all() or not mask.any():
        return np.zeros(mask.shape, dtype=np.float32)
    mask = np.ascontiguousarray(mask)
    outside = edt.edt(~mask, anisotropy=spacing)
    inside = edt.edt(mask, anisotropy=spacing)
    return np.where(mask, np.float32(min(spacing)) - inside, outside)


class SignedDistanceMapd(MapTransform):
    """Add the signed distance maps of a label's structures; see :func:`signed_distance` for their values.

    The map is computed on the label as it comes, hence on the crop where it follows one. It is deterministic: place it
    before the random transforms, so that it is cached, and let them move it like the image (linear interpolation).

    Args:
        keys: key of the label, ``(1, D, H, W)``.
        output_key: key of the maps, ``(K, D, H, W)``, float32, with the label's affine.
        unit: ``"mm"`` takes the spacing from the label's affine; ``"voxel"`` counts voxels.
        normalize: divide by the largest absolute distance, so that the map lies in [-1, 1]. A map in mm or voxels
            reaches about 100 in a crop of an atrium and outweighs a Dice loss.
        maps: the classes of each of the K structures; None: one, all of the label that is not 0.
        allow_missing_keys: whether a case without the label passes unchanged.

    Raises:
        ValueError: for another unit, more than one key or channel, or ``"mm"`` without an affine.

    Example::

        >>> SignedDistanceMapd(keys="label", output_key="distance")({"label": label})["distance"]
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        output_key: str = "distance",
        *,
        unit: Literal["mm", "voxel"] = "mm",
        normalize: bool = False,
        maps: Sequence[Sequence[int]] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"SignedDistanceMapd makes the maps of one label, got keys={self.keys}")
        if unit not in ("mm", "voxel"):
            raise ValueError(f"SignedDistanceMapd: unit is 'mm' or 'voxel', got '{unit}'")
        self.output_key = output_key
        self.unit = unit
        self.normalize = normalize
        self.maps = None if maps is None else [list(classes) for classes in maps]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.output_key] = self._map(d[key], key)
        return d

    def _map(self, label: torch.Tensor, key: Hashable) -> torch.Tensor:
        if label.shape[0] != 1:
            raise ValueError(f"SignedDistanceMapd: '{key}' must have one channel, got {label.shape[0]}")
        masks = label > 0 if self.maps is None else class_maps(label, self.maps)  # (K, D, H, W)
        spacing = self._spacing(label, key)
        maps = np.stack([signed_distance(mask, spacing) for mask in torch.as_tensor(masks).cpu().numpy()])
        if self.normalize:
            maps /= np.maximum(np.abs(maps).max(axis=(1, 2, 3), keepdims=True), np.finfo(np.float32).tiny)
        return convert_to_dst_type(maps, label, dtype=torch.float32)[0]

    def _spacing(self, label: torch.Tensor, key: Hashable) -> tuple[float, ...]:
        if self.unit == "voxel":
            return (1.0,) * (label.ndim - 1)
        if not isinstance(label, MetaTensor):
            raise ValueError(
                f"SignedDistanceMapd: '{key}' carries no affine, so its spacing in mm is unknown: load it with "
                "LoadImaged, or use unit='voxel'"
            )
        return tuple(label.pixdim.tolist())


class WithDistanceMapd(SignedDistanceMapd):
    """Make a label ``(1, D, H, W)`` a hybrid loss's target, ``(1 + K, D, H, W)``: itself and its signed distance maps.

    Args:
        keys: key of the label.
        unit: see :class:`SignedDistanceMapd`.
        normalize: see :class:`SignedDistanceMapd`.
        maps: see :class:`SignedDistanceMapd`.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        *,
        unit: Literal["mm", "voxel"] = "mm",
        normalize: bool = False,
        maps: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(keys, "distance", unit=unit, normalize=normalize, maps=maps)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = super().__call__(data)
        distance = out.pop("distance")
        for key in self.keys:
            out[key] = torch.cat([out[key].to(distance.dtype), distance])
        return out
