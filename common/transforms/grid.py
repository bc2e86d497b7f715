"""From files to the network's grid."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from monai.transforms import AsDiscreted, Compose, EnsureTyped, MapLabelValued, Orientationd, Spacingd

from common.transforms.load import LoadImageAsVolumed

__all__ = ["load_on_grid"]


def load_on_grid(
    keys: Sequence[Hashable] = ("image", "label"),
    *,
    spacing: Sequence[float] | None = None,
    axcodes: str = "SAR",
    label_key: Hashable = "label",
    classes: bool = False,
    channel_order: Sequence[int] = (0,),
    channel_names: Sequence[str] = (),
    label_values: Sequence[int] | None = None,
    class_values: Sequence[int] | Mapping[int, int] | None = None,
) -> Compose:
    """Load volumes as (C, D, H, W) with axes (z, y, x), resampled to one voxel size: images float32, labels see below.

    Args:
        keys: items that hold a file in any format that MONAI's readers know, a folder of one DICOM series, or a list of
            files, one for each channel.
        spacing: mm of a voxel, (D, H, W); None keeps each volume's own.
        axcodes: orientation of the array's axes.
        label_key: of ``keys``, the label.
        classes: ``False``: any non-zero value of the label is foreground, resampled linearly and thresholded at half,
            float32; ``True``: its values are classes, resampled to the nearest, uint8.
        channel_order: the image's channels in the order that the network gets them; as many must it have.
        channel_names: what its channels are, as it has them, for the message where it has others.
        label_values: values that the label may have; None: all whole numbers.
        class_values: with ``classes``, the label's values in the order of the network's classes, which replace them, or
            value -> class; None keeps the values.

    Returns:
        A flat ``Compose``; the image's part is undone by ``Invertd`` or :class:`LabelsOnOriginalGridd`.

    Raises:
        ValueError: while loading, for what :class:`LoadImageAsVolumed` refuses; the file is named.
    """
    transforms: list[Callable] = [
        LoadImageAsVolumed(
            list(keys),
            channel_order=channel_order,
            channel_names=channel_names,
            label_key=label_key,
            label_values=label_values,
        )
    ]
    binary = label_key in keys and not classes
    if binary:
        transforms.append(AsDiscreted(keys=label_key, threshold=0.5))
    transforms.append(EnsureTyped(keys=list(keys), dtype="float32"))
    transforms.append(Orientationd(keys=list(keys), axcodes=axcodes, labels=None))
    if spacing is not None:
        # Images in float32: MONAI's float64 takes twice the memory, 3 GB for a CT of 512 x 512 x 600. Labels not: ties
        # between the two nearest voxels are decided by rounding.
        # scale_extent divides the volume's extent evenly: at half resolution a voxel lies between eight of the file and
        # is their mean. (Within a voxel of 0 mm MONAI 1.6.1 confuses the sign: the grid then starts up to one voxel of
        # the file earlier, as its affine says.)
        modes = ["nearest" if classes and key == label_key else "bilinear" for key in keys]
        types = [np.float64 if key == label_key else np.float32 for key in keys]
        transforms.append(
            Spacingd(list(keys), tuple(spacing), mode=modes, scale_extent=True, align_corners=True, dtype=types)
        )
        if binary:
            transforms.append(AsDiscreted(keys=label_key, threshold=0.5))
    if label_key in keys and classes:
        values = dict(class_values) if isinstance(class_values, Mapping) else _numbered(class_values or ())
        if any(value != number for value, number in values.items()):
            transforms.append(MapLabelValued(label_key, list(values), list(values.values()), dtype=np.uint8))
        else:
            transforms.append(EnsureTyped(keys=label_key, dtype="uint8"))
    return Compose(transforms)


def _numbered(values: Sequence[int]) -> dict[int, int]:
    return {value: number for number, value in enumerate(values)}
