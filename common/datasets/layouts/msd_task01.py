"""Layout of the Decathlon's Task01_BrainTumour: BraTS of 2016 and 2017, with four channels in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.dataset_json import LISTING
from common.datasets.layouts.decathlon import decathlon_data_set

__all__ = ["msd_task01_data_set", "msd_task01_datalist"]

CHANNELS = ("flair", "t1w", "t1gd", "t2w")


def msd_task01_datalist(dataset_dir: str | Path) -> list[dict[str, str]]:
    """The labeled cases of :func:`msd_task01_data_set`."""
    return msd_task01_data_set(dataset_dir).cases


def msd_task01_data_set(dataset_dir: str | Path) -> DataSet:
    """Task01_BrainTumour, an openly downloadable stand-in for BraTS 2020, its channels in the published order.

    The channels are in the order of :func:`~common.datasets.brats2020_datalist`: FLAIR, T1, T1 with contrast medium,
    T2. The labels are not BraTS's: 1 edema (there 2), 2 non-enhancing core (there 1), 3 enhancing tumor (there 4).

    Args:
        dataset_dir: holds ``dataset.json``.

    Returns:
        As :func:`~common.datasets.layouts.decathlon.decathlon_data_set`.

    Raises:
        DataError: if ``dataset.json`` cannot be used, or names other channels or another order.
    """
    found = decathlon_data_set(dataset_dir)
    if tuple(channel.lower() for channel in found.channels) != CHANNELS:
        listing, given = Path(dataset_dir) / LISTING, ", ".join(found.channels) or "not given"
        raise DataError(
            f"{listing}: the modality is {given}, expected FLAIR, T1w, T1gd, T2w in this order; give the folder of "
            "Task01_BrainTumour as it was published"
        )
    return replace(found, layout="msd_task01")
