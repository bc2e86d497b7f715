"""Back from the network's grid: probabilities to the label map of the file that they were made from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from itertools import product

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample
from torch import Tensor

__all__ = ["LabelsOnOriginalGridd"]

SLAB = 2**21  # voxels that are resampled at a time
OUTSIDE = 2.0  # voxels of the network's grid by which the file's grid may reach beyond it


class LabelsOnOriginalGridd(MapTransform):
    """The most probable class of each voxel of the image's file: probabilities are interpolated there, not labels.

    As ``Invertd`` and argmax, a few slices at a time: beyond the label map itself, a byte for each voxel,
    memory depends neither on the file's resolution nor on the number of classes. All of the way back, orientation
    included, is one linear interpolation from the prediction's affine to the file's. A crop of the preprocessing is
    undone before, by ``Invertd`` with that crop alone, on the coarser grid.

    Args:
        keys: probabilities (C, D, H, W); a single channel is that of class 1, and 0 the other. Of the image's shape
            they lie on its grid, of another shape (a crop was undone) where their affine says.
        image_key: the image as the network got it, whose ``meta`` knows the file's grid (``LoadImaged`` notes it).

    Returns:
        (1, X, Y, Z) uint8 on the file's grid; of equal probabilities the lowest class.

    Raises:
        ValueError: if the prediction does not cover the file's grid, or has neither an affine nor the image's shape.
        KeyError: if the image's ``meta`` does not know the file's grid.

    Example::

        >>> back = Compose([
        ...     Activationsd("pred", softmax=True),
        ...     Invertd("pred", transform=crop, orig_keys="image", nearest_interp=False),
        ...     LabelsOnOriginalGridd("pred"),
        ... ])
    """

    def __init__(self, keys: Sequence[Hashable] | Hashable, *, image_key: Hashable = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float32)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        image = out[self.image_key]
        affine = torch.as_tensor(image.meta["original_affine"], dtype=torch.float64)
        shape = tuple(int(n) for n in image.meta["spatial_shape"])
        name = image.meta.get("filename_or_obj", self.image_key)
        for key in self.key_iterator(out):
            probabilities = _placed(out[key], image, name)
            _check_cover(probabilities, affine, shape, name)
            labels = torch.empty((1, *shape), dtype=torch.uint8, device=probabilities.device)
            step = max(1, SLAB // (shape[1] * shape[2]))
            for first in range(0, shape[0], step):
                slab = labels[:, first : first + step]
                corner = affine.clone()
                corner[:3, 3] = affine[:3, :3] @ torch.tensor([first, 0.0, 0.0], dtype=torch.float64) + affine[:3, 3]
                slab[0] = _most_probable(self.resample(probabilities, dst_affine=corner, spatial_size=slab.shape[1:]))
            out[key] = MetaTensor(labels, meta={**deepcopy(image.meta), "affine": affine})
        return out


def _placed(prediction: Tensor, image: MetaTensor, name: str) -> MetaTensor:
    """The prediction with the image's affine where it has its shape (inferers lose it), else with its own."""
    plain = torch.Tensor.as_subclass(prediction.detach(), torch.Tensor)
    if prediction.shape[1:] == image.shape[1:]:
        return MetaTensor(plain, affine=image.affine)
    if not isinstance(prediction, MetaTensor):
        raise ValueError(
            f"{name}: the prediction's shape {tuple(prediction.shape[1:])} is not the image's, "
            f"{tuple(image.shape[1:])}, and it carries no affine that says where it lies"
        )
    return MetaTensor(plain, affine=prediction.affine)


def _check_cover(prediction: MetaTensor, affine: Tensor, shape: Sequence[int], name: str) -> None:
    corners = np.array([[*corner, 1.0] for corner in product(*((0, n - 1) for n in shape))])  # (8, 4)
    voxels = (np.linalg.inv(prediction.affine.cpu().numpy()) @ affine.cpu().numpy() @ corners.T)[:3]  # (3, 8)
    beyond = np.maximum(-voxels.min(axis=1), voxels.max(axis=1) - np.array(prediction.shape[1:]) + 1)
    if beyond.max() > OUTSIDE:
        raise ValueError(
            f"{name}: reaches {beyond.max():.0f} voxels beyond the prediction; undo the crop of the preprocessing "
            "first (Invertd)"
        )


def _most_probable(probabilities: Tensor) -> Tensor:
    """The most probable class, (X, Y, Z) uint8, without torch's argmax: over the first axis it takes ten times as long.

    The background's probability is what is missing to 1: outside a crop that ``Invertd`` undid, all channels are 0.
    """
    plain = torch.Tensor.as_subclass(probabilities, torch.Tensor)
    foreground = plain if len(plain) == 1 else plain[1:]
    highest = 1 - foreground.sum(dim=0)
    labels = torch.zeros(highest.shape, dtype=torch.uint8, device=highest.device)
    for label, candidate in enumerate(foreground, start=1):
        labels.masked_fill_(candidate > highest, label)
        highest = torch.maximum(highest, candidate)
    return labels
