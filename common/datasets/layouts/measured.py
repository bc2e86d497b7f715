"""What a data set does not say of itself, read from its files: the modality, and the values in its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.datasets.check import read_volume
from common.datasets.errors import DataError
from common.datasets.intensities import Look, look_of
from common.files import files_of

__all__ = ["label_values_of", "modality_of", "structures_by_value"]

IMAGES = 5  # that are read, spread over the list


def modality_of(images: Sequence[str | Path | Sequence[str | Path]]) -> tuple[str, str | None]:
    """The modality by intensities of a few images: CT where they are Hounsfield units, else MR.

    Args:
        images: each a file, or a list of files, one for each channel.

    Returns:
        ``"CT"``, ``"MR"`` or ``"CT, MR"`` (of the channels), and a line that says the doubt, if there is one, naming a
        file. Where images differ, it is that of most of them.

    Raises:
        DataError: where there is no image, or one that is looked at cannot be read.
    """
    if not images:
        raise DataError("no images: their modality cannot be told")
    looks = [_looks(images[k]) for k in sorted(set(np.linspace(0, len(images) - 1, IMAGES).astype(int).tolist()))]
    kinds = [", ".join(sorted({look.modality for _, look in own})) for own in looks]
    [(modality, count)] = Counter(kinds).most_common(1)
    if count < len(kinds):
        one, other = kinds.index(modality), next(k for k, kind in enumerate(kinds) if kind != modality)
        return modality, f"{looks[one][0][0]} looks like {modality}, {looks[other][0][0]} like {kinds[other]}"
    doubts = [
        f"taken for {look.modality} in doubt: {file}: {look.doubt}" for own in looks for file, look in own if look.doubt
    ]
    return modality, doubts[0] if doubts else None


def label_values_of(labels: Sequence[str | Path]) -> set[int]:
    """All values in these labels, 0 (background) too where it is there; stored floats are rounded.

    Raises:
        DataError: naming all labels that cannot be read.
    """
    values: set[int] = set()
    faults: list[str] = []
    for path in labels:
        volume = read_volume(str(path), faults)
        for slab in [] if volume is None else volume[0].reshape(-1, volume[0].shape[-1]).T:
            values |= _values(slab)
    if faults:
        raise DataError("labels cannot be read:\n" + "\n".join(f"  {fault}" for fault in faults))
    return values


def structures_by_value(values: set[int]) -> dict[str, int]:
    """Names for the structures of a data set that names none: ``{"structure 1": 1, ...}``."""
    return {f"structure {value}": value for value in sorted(values - {0})}


def _looks(image: str | Path | Sequence[str | Path]) -> list[tuple[str, Look]]:
    """What each channel of an image looks like, with its file."""
    faults: list[str] = []
    volumes = [(file, read_volume(file, faults)) for file in files_of(image)]
    if faults:
        raise DataError("\n".join(faults))
    return [(file, look_of(channel)) for file, volume in volumes if volume is not None for channel in volume[0]]


def _values(slab: np.ndarray) -> set[int]:
    whole = slab if slab.dtype.kind in "iub" else np.rint(slab[np.isfinite(slab)])
    low = int(whole.min()) if whole.size else 0
    if whole.size and int(whole.max()) - low < 2**16:  # counting is quicker than sorting
        return {low + int(value) for value in np.flatnonzero(np.bincount((whole.astype(np.int64) - low).ravel()))}
    return {int(value) for value in np.unique(whole)}
