"""Back from the network's grid: probabilities to the label map of the file that they were made from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from itertools import product

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.transforms.lazy.utils import resample
from monai.utils import LazyAttr
from torch import Tensor

from common.transforms.boxes import Box, mask_box

__all__ = ["LabelsOnOriginalGridd"]

SLAB = 2**21  # voxels that are resampled at a time
OUTSIDE = 2.0  # voxels of the network's grid by which the file's grid may reach beyond it
SAME = 1e-5  # tolerance for the numbers of a matrix between two grids to be whole: no interpolation is needed then


class LabelsOnOriginalGridd(MapTransform):
    """The most probable class of each voxel of the image's file: probabilities are interpolated there, not labels.

    As ``Invertd`` and argmax, but only where the answer is not background, and a few slices at a time: beyond the label
    map itself, a byte for each voxel, memory depends neither on the file's resolution nor on the number of classes. All
    of the way back, orientation included, is one linear interpolation from the prediction's affine to the file's, or
    none where the voxels of both are the same. A crop of the preprocessing is undone before, by ``Invertd`` with that
    crop alone, on the coarser grid.

    Args:
        keys: probabilities (C, D, H, W); a single channel is that of class 1, and 0 the other. Of the image's shape
            they lie on its grid, of another shape (a crop was undone) where their affine says.
        painted: for structures that may overlap, each with a probability of its own (sigmoid): (channel, class) in the
            order in which the classes are written where the channel's probability is above one half. None: channels
            are classes, of which the most probable is written.
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

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        painted: Sequence[tuple[int, int]] | None = None,
        image_key: Hashable = "image",
    ) -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.classes = _most_probable if painted is None else functools.partial(_painted, order=tuple(painted))

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        image = out[self.image_key]
        affine = torch.as_tensor(image.meta["original_affine"], dtype=torch.float64)
        shape = tuple(int(n) for n in image.meta["spatial_shape"])
        name = image.meta.get("filename_or_obj", self.image_key)
        for key in self.key_iterator(out):
            probabilities = _placed(out[key], image, name)
            _check_cover(probabilities, affine, shape, name)
            labels = torch.zeros((1, *shape), dtype=torch.uint8, device=probabilities.device)
            _fill(labels[0], probabilities, torch.linalg.inv(probabilities.affine) @ affine, self.classes)
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


def _fill(labels: Tensor, probabilities: MetaTensor, voxels: Tensor, classes: Callable[[Tensor], Tensor]) -> None:
    """Write classes into a map of background.

    Args:
        labels: zeros (X, Y, Z) on the file's grid.
        probabilities: on the network's grid.
        voxels: matrix from voxels of the file to voxels of the network, float64.
        classes: of probabilities, (C, X, Y, Z) to (X, Y, Z) uint8.
    """
    shape = probabilities.shape[1:]
    near = _foreground(probabilities, classes)
    target = None if near is None else _covered(near, shape, torch.linalg.inv(voxels), labels.shape, beyond=OUTSIDE)
    if target is None:
        return
    step = max(1, SLAB // (target.shape[1] * target.shape[2]))
    settings = {
        LazyAttr.INTERP_MODE: "bilinear",
        LazyAttr.PADDING_MODE: "border",
        LazyAttr.DTYPE: torch.float32,
        "atol": SAME,
    }
    for first in range(target.start[0], target.stop[0], step):
        slab = Box((first, *target.start[1:]), (min(first + step, target.stop[0]), *target.stop[1:]))
        source = _covered(slab, labels.shape, voxels, shape, beyond=0)
        if source is None:  # all of it lies beyond the shape
            source = near
        piece = probabilities[(slice(None), *source.slices)].float()
        matrix = voxels.clone()
        matrix[:3, 3] += voxels[:3, :3] @ torch.tensor(slab.start, dtype=torch.float64)
        matrix[:3, 3] -= torch.tensor(source.start, dtype=torch.float64)
        labels[slab.slices] = classes(resample(piece, matrix, {**settings, LazyAttr.SHAPE: slab.shape}))


def _foreground(probabilities: Tensor, classes: Callable[[Tensor], Tensor]) -> Box | None:
    """Voxels between which the answer may be another than background: where it is, and their neighbors."""
    shape = probabilities.shape[1:]
    step = max(1, SLAB // (shape[1] * shape[2]))
    found = []
    for first in range(0, shape[0], step):
        box = mask_box(classes(probabilities[:, first : first + step]))
        if box is not None:
            found.append(Box((box.start[0] + first, *box.start[1:]), (box.stop[0] + first, *box.stop[1:])))
    if not found:
        return None
    start = np.min([box.start for box in found], axis=0) - 1
    stop = np.max([box.stop for box in found], axis=0) + 1
    return Box(tuple(map(int, np.maximum(start, 0))), tuple(map(int, np.minimum(stop, shape))))


def _covered(box: Box, shape: Sequence[int], matrix: Tensor, to: Sequence[int], *, beyond: float) -> Box | None:
    """The voxels of another grid that a box covers, and those around them; None if there are none.

    Args:
        box: in voxels of a grid of ``shape``.
        shape: sides of its grid.
        matrix: from voxels of its grid to voxels of the other, float64.
        to: sides of the other grid.
        beyond: voxels by which the box is larger where it reaches the end of its grid.
    """
    start = [a if a > 0 else -beyond for a in box.start]
    last = [b - 1 if b < n else b - 1 + beyond for b, n in zip(box.stop, shape, strict=True)]
    corners = np.array([[*corner, 1.0] for corner in product(*zip(start, last, strict=True))])  # (8, 4)
    voxels = (matrix.numpy() @ corners.T)[:3]  # (3, 8)
    first = np.clip(np.floor(voxels.min(axis=1)), 0, to)
    stop = np.clip(np.ceil(voxels.max(axis=1)) + 1, 0, to)
    return Box(tuple(map(int, first)), tuple(map(int, stop))) if (first < stop).all() else None


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


def _painted(probabilities: Tensor, *, order: Sequence[tuple[int, int]]) -> Tensor:
    """The class of the last structure in this order that is probable, (X, Y, Z) uint8."""
    plain = torch.Tensor.as_subclass(probabilities, torch.Tensor)
    labels = torch.zeros(plain.shape[1:], dtype=torch.uint8, device=plain.device)
    for channel, label in order:
        labels.masked_fill_(plain[channel] > 0.5, label)
    return labels
