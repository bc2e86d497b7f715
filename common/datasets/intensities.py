"""What the intensities of an image look like: Hounsfield units (HU) of a CT, or anything else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Look", "look_of"]

SAMPLES = 200_000  # voxels that are looked at, spread over the volume
AIR, BELOW_WATER = -500.0, -20.0  # HU
LOWEST, HIGHEST = -10_000.0, 100_000.0  # HU, with what scanners put outside the field of view, and metal
SOME, MANY = 0.01, 0.05  # of the voxels
OFFSET = (874.0, 1224.0)  # soft tissue and fat, where 1024 was added to HU


class Look(NamedTuple):
    """A modality, and why it may be another one; empty where there is no doubt."""

    modality: str  # "CT" or "MR"
    doubt: str = ""


def look_of(channel: np.ndarray) -> Look:
    """What one channel looks like.

    HU are known by their air: below -500 in a hundredth of the voxels or more. Whole numbers of which a twentieth are
    below -20 are a CT whose HU were clipped, or another image: in doubt. All else counts as MR; in doubt where a CT
    would look the same: after a window to 8 bits, or with 1024 added.

    Args:
        channel: (X, Y, Z), of any type.
    """
    flat = np.ravel(channel, order="K")
    values = flat[:: max(1, flat.size // SAMPLES)].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return Look("MR", "no voxel is a number")
    low, high = values.min(), values.max()
    if np.mean(values < AIR) >= SOME and low >= LOWEST and 0 < high <= HIGHEST:
        return Look("CT")
    whole = bool((values == np.rint(values)).all())
    if np.mean(values < BELOW_WATER) >= MANY and whole and 0 < high <= HIGHEST:
        return Look("CT", f"values are {low:g} to {high:g}, as of a CT without air")
    if whole and low >= 0 and high <= 255:
        return Look("MR", f"values are {low:g} to {high:g}, as a CT's after a window to 8 bits would be too")
    inside = values[values > OFFSET[0] / 4]
    if low >= 0 and inside.size and np.mean((inside > OFFSET[0]) & (inside < OFFSET[1])) >= 0.5:
        return Look("MR", f"values are {low:g} to {high:g}, most near 1024, as of a CT with 1024 added to HU")
    return Look("MR")
