"""The connected components of each organ that are large enough to be one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep
from torch import Tensor

from common.transforms.boxes import mask_box
from common.transforms.coarse_grid import spacing_of

__all__ = ["ComponentFilterd", "large_components"]

ORGANS = (1, 2, 1, 1)  # components of liver, kidneys, spleen, pancreas
UNITS = ("mm3", "upstream")


def large_components(mask: np.ndarray, *, count: int, more_than: float) -> np.ndarray:
    """The ``count`` largest 26-connected components with more than ``more_than`` voxels, of equal ones the first.

    Args:
        mask: boolean (D, H, W).
        count: how many to keep at most.
        more_than: voxels.

    Returns:
        Boolean, of the mask's shape.
    """
    import cc3d

    numbers = cc3d.connected_components(mask, connectivity=26, binary_image=True)
    voxels = cc3d.statistics(numbers)["voxel_counts"].astype(np.int64)
    voxels[0] = 0  # the background
    largest = np.argsort(-voxels, kind="stable")[:count]
    keep = np.zeros(len(voxels), bool)
    keep[largest] = voxels[largest] > max(more_than, 0)
    return keep[numbers]


class ComponentFilterd(MapTransform):
    """From a mask for each organ to a label map, with the organs' largest components (EfficientSegNet, section 9.1).

    Organ after organ, each in the box of its own mask: label c gets the largest 26-connected components of channel
    c - 1 whose volume is greater than the minimum. Where organs overlap, the later label counts. Nothing is filled or
    smoothed. Beyond masks and label map, memory is that of one organ's box.

    Args:
        keys: boolean masks (K, D, H, W) on the image's grid.
        components: how many components to keep at most, for each of the K organs.
        min_size: mm³ that a component must exceed.
        min_size_unit: ``"mm3"``; ``"upstream"`` counts, as the authors' code does, the voxels of the image, but takes
            the volume of a voxel of the fine network's grid: the minimum for components is then
            ``min_size · grid / crop``. For comparisons with their results.
        grid: with ``"upstream"``: sides of the fine network's grid, one for all axes or (D, H, W).
        image_key: the image, whose affine gives the voxel size.

    Returns:
        (1, D, H, W) uint8 on the CPU, with the image's affine.

    Raises:
        ValueError: for masks that are not boolean (apply the threshold first), or not one for each of ``components``.
        KeyError: with ``"upstream"``, if ``meta["box"]`` of the masks does not say where the crop was; a
            :class:`~common.inferers.CoarseToFineInferer` notes it.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        components: Sequence[int] = ORGANS,
        min_size: float = 2000.0,
        min_size_unit: str = "mm3",
        grid: Sequence[int] | int = 192,
        image_key: Hashable = "image",
    ) -> None:
        super().__init__(keys)
        if min_size_unit not in UNITS:
            raise ValueError(f"min_size_unit must be one of {UNITS}, got {min_size_unit!r}")
        self.components = tuple(components)
        self.min_size = min_size
        self.min_size_unit = min_size_unit
        self.grid = ensure_tuple_rep(grid, 3)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        image = out[self.image_key]
        for key in self.key_iterator(out):
            masks = out[key]
            self._check(key, masks)
            more_than = self._voxels(masks, spacing_of(image))
            labels = np.zeros(masks.shape[1:], np.uint8)
            for label, (mask, count) in enumerate(zip(masks, self.components, strict=True), start=1):
                _label_components(labels, mask, label=label, count=count, more_than=more_than)
            out[key] = MetaTensor(torch.from_numpy(labels)[None], affine=getattr(image, "affine", None))
        return out

    def _check(self, key: Hashable, masks: Tensor) -> None:
        if masks.dtype != torch.bool:
            raise ValueError(f"{key}: expected boolean masks, got {masks.dtype}: apply the threshold first")
        if len(masks) != len(self.components):
            raise ValueError(f"{key}: expected {len(self.components)} organs (components), got {len(masks)} channels")

    def _voxels(self, masks: Tensor, spacing: Sequence[float]) -> float:
        """The minimum in voxels of the image."""
        if self.min_size_unit == "mm3":
            return self.min_size / float(np.prod(spacing))
        start, stop = np.asarray(masks.meta["box"])
        return self.min_size / float(np.prod(np.asarray(spacing) * (stop - start) / self.grid))


def _label_components(labels: np.ndarray, mask: Tensor, *, label: int, count: int, more_than: float) -> None:
    plain = torch.Tensor.as_subclass(mask, torch.Tensor)
    box = mask_box(plain)
    if box is None:
        return
    kept = large_components(plain[box.slices].cpu().numpy(), count=count, more_than=more_than)
    labels[box.slices][kept] = label
