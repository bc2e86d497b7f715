"""Layout of the Decathlon's Task01_BrainTumour: BraTS of 2016 and 2017, with four channels in a file."""

from __future__ import annotations

import json
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.layouts.decathlon import decathlon_datalist

__all__ = ["msd_task01_datalist"]

CHANNELS = ("flair", "t1w", "t1gd", "t2w")


def msd_task01_datalist(dataset_dir: str | Path) -> list[dict[str, str]]:
    """The labeled cases of Task01_BrainTumour, an openly downloadable stand-in for BraTS 2020.

    The channels are in the order of :func:`~common.datasets.brats2020_datalist`: FLAIR, T1, T1 with contrast medium,
    T2. The labels are not BraTS's: 1 edema (there 2), 2 non-enhancing core (there 1), 3 enhancing tumor (there 4).

    Args:
        dataset_dir: holds ``dataset.json``.

    Returns:
        As :func:`~common.datasets.decathlon_datalist`.

    Raises:
        DataError: if ``dataset.json`` cannot be used, or names other channels or another order.
    """
    cases = decathlon_datalist(dataset_dir)
    listing = Path(dataset_dir) / "dataset.json"
    named = json.loads(listing.read_text(encoding="utf-8-sig")).get("modality", {})
    channels = [str(named[key]) for key in sorted(named, key=str)] if isinstance(named, dict) else []
    if tuple(channel.lower() for channel in channels) != CHANNELS:
        raise DataError(
            f"{listing}: the modality is {', '.join(channels) or 'not given'}, expected FLAIR, T1w, T1gd, T2w in this "
            "order; give the folder of Task01_BrainTumour as it was published"
        )
    return cases
