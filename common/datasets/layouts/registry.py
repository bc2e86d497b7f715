"""The on-disk layouts that configs name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.datasets.layouts.abdomenct1k import abdomenct1k_datalist
from common.datasets.layouts.atria2018 import atria2018_datalist
from common.datasets.layouts.brats2020 import brats2020_datalist
from common.datasets.layouts.decathlon import decathlon_datalist
from common.datasets.layouts.flare21 import flare21_datalist
from common.datasets.layouts.lits import lits_datalist
from common.datasets.layouts.msd_task01 import msd_task01_datalist

__all__ = ["LAYOUTS", "layout_named"]

Datalist = Callable[[str | Path], list[dict[str, str]]]  # folder -> case, image and label of every labeled case

LAYOUTS: dict[str, Datalist] = {
    "abdomenct1k": abdomenct1k_datalist,
    "atria2018": atria2018_datalist,
    "brats2020": brats2020_datalist,
    "decathlon": decathlon_datalist,
    "flare21": flare21_datalist,
    "lits": lits_datalist,
    "msd_task01": msd_task01_datalist,
    "task03_liver": decathlon_datalist,
}


def layout_named(name: str) -> Datalist:
    """The function that lists the labeled cases of a folder in this layout.

    Raises:
        ValueError: if there is no such layout, with the names that there are.
    """
    if name not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]
