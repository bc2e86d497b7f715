"""From files to the network's grid."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from monai.transforms import AsDiscreted, Compose, EnsureTyped, LoadImaged, Orientationd, Spacingd

__all__ = ["load_on_grid"]


def load_on_grid(
    keys: Sequence[Hashable] = ("image", "label"),
    *,
    spacing: Sequence[float] | None = None,
    axcodes: str = "SAR",
    label_key: Hashable = "label",
) -> Compose:
    """Load volumes as (1, D, H, W) float32 with axes (z, y, x), resampled to one voxel size; labels become 0 and 1.

    Args:
        keys: items that hold file names, in any format that MONAI's readers know.
        spacing: mm of a voxel, (D, H, W); None keeps each volume's own.
        axcodes: orientation of the array's axes.
        label_key: of ``keys``, the label: any non-zero value is foreground, resampled linearly and thresholded at half.

    Returns:
        A flat ``Compose``; the image's part is undone by ``Invertd``.
    """
    image_keys = [key for key in keys if key != label_key]
    transforms: list[Callable] = [LoadImaged(keys=list(keys), ensure_channel_first=True, image_only=True)]
    if label_key in keys:
        transforms.append(AsDiscreted(keys=label_key, threshold=0.5))
    transforms += [EnsureTyped(keys=list(keys), dtype="float32"), Orientationd(keys=list(keys), axcodes=axcodes, labels=None)]
    if spacing is not None:
        # scale_extent keeps the field of view: at half resolution a voxel is the mean of the eight it covers
        transforms.append(Spacingd(keys=list(keys), pixdim=tuple(spacing), mode="bilinear", scale_extent=True))
        if label_key in keys:
            transforms.append(AsDiscreted(keys=label_key, threshold=0.5))
    assert image_keys, "load_on_grid loads an image"
    return Compose(transforms)
