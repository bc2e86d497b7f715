"""The on-disk layouts that configs name: how to list a data set's cases, and how to write phantoms like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.datasets.abdomenct1k import abdomenct1k_datalist
from common.datasets.atria2018 import atria2018_datalist
from common.datasets.brats2020 import brats2020_datalist
from common.datasets.decathlon import decathlon_datalist
from common.datasets.flare21 import flare21_datalist
from common.datasets.lits import lits_datalist
from common.datasets.msd_task01 import msd_task01_datalist
from common.datasets.phantom_heart import write_task02_heart
from common.datasets.phantoms import (
    write_atria2018,
    write_brats2020,
    write_flare21,
    write_lits,
    write_msd_task01,
    write_task03_liver,
)

__all__ = ["LAYOUTS", "Layout", "layout_named"]


@dataclass(frozen=True)
class Layout:
    """One way of laying out a data set on disk.

    Args:
        datalist: folder -> ``case``, ``image`` and ``label`` of every labelled case.
        write_phantoms: ``(folder, cases, seed)`` -> names of the phantoms written; None where there is no generator.
    """

    datalist: Callable[[str | Path], list[dict[str, str]]]
    write_phantoms: Callable[[str, int, int], list[str]] | None = None


LAYOUTS = {
    "abdomenct1k": Layout(abdomenct1k_datalist),
    "atria2018": Layout(atria2018_datalist, write_atria2018),
    "brats2020": Layout(brats2020_datalist, write_brats2020),
    "decathlon": Layout(decathlon_datalist, write_task02_heart),
    "flare21": Layout(flare21_datalist, write_flare21),
    "lits": Layout(lits_datalist, write_lits),
    "msd_task01": Layout(msd_task01_datalist, write_msd_task01),
    "task03_liver": Layout(decathlon_datalist, write_task03_liver),
}


def layout_named(name: str) -> Layout:
    """The layout of this name.

    Raises:
        ValueError: if there is none, with the names that there are.
    """
    if name not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]
