"""The on-disk layouts: which of them a folder has, and what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import entries_of
from common.datasets.layouts.abdomenct1k import abdomenct1k_data_set, is_abdomenct1k
from common.datasets.layouts.atria2018 import atria2018_data_set, is_atria2018
from common.datasets.layouts.bids import bids_data_set, is_bids
from common.datasets.layouts.brats import (
    brats2020_archives,
    brats2020_data_set,
    brats2023_archives,
    brats2023_data_set,
    is_brats2020,
    is_brats2023,
)
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.datalist import datalist_data_set, is_datalist
from common.datasets.layouts.decathlon import decathlon_data_set, is_decathlon
from common.datasets.layouts.flare21 import flare21_data_set, is_flare21
from common.datasets.layouts.images_labels import IMAGES, LABELS, TEST, images_labels_data_set, is_images_labels
from common.datasets.layouts.lits import is_lits, lits_data_set
from common.datasets.layouts.msd_task01 import msd_task01_data_set
from common.datasets.layouts.nnunet import is_nnunet, nnunet_data_set
from common.files import entry_fault

__all__ = ["AUTO", "LAYOUTS", "layouts_of", "recognize"]

AUTO = "auto"

LAYOUTS: dict[str, Callable[[str | Path], DataSet]] = {
    "abdomenct1k": abdomenct1k_data_set,
    "atria2018": atria2018_data_set,
    "bids": bids_data_set,
    "brats2020": brats2020_data_set,
    "brats2023": brats2023_data_set,
    "decathlon": decathlon_data_set,
    "flare21": flare21_data_set,
    "images_labels": images_labels_data_set,
    "datalist": datalist_data_set,
    "lits": lits_data_set,
    "msd_task01": msd_task01_data_set,
    "nnunet": nnunet_data_set,
    "task03_liver": decathlon_data_set,
}

# What tells them apart, by the names in a folder alone; task03_liver and msd_task01 are of the layout decathlon.
RECOGNIZED: dict[str, Callable[[Path], bool]] = {
    "abdomenct1k": is_abdomenct1k,
    "atria2018": is_atria2018,
    "bids": is_bids,
    "brats2020": is_brats2020,
    "brats2023": is_brats2023,
    "decathlon": is_decathlon,
    "flare21": is_flare21,
    "datalist": is_datalist,
    "lits": is_lits,
    "nnunet": is_nnunet,
}
ARCHIVES = {"brats2020": brats2020_archives, "brats2023": brats2023_archives}  # that a folder may hold several of
PARTS = (*IMAGES, *LABELS, *TEST)  # names of folders in a data set
FOLDERS = 50  # of an unknown folder, that are looked into for data sets
ENTRIES = 8  # of an unknown folder, to show what was found
EXAMPLE = """expected one of the layouts {layouts}; the simplest is
  {root}/images/CASE_1.nii.gz   (or CASE_1_0000.nii.gz, CASE_1_0001.nii.gz for two channels)
  {root}/labels/CASE_1.nii.gz"""


def recognize(folder: str | Path, layout: str = AUTO) -> DataSet:
    """The data set in a folder.

    Args:
        folder: the data set's, or the file of a list.
        layout: ``"auto"``: the one layout that fits; or one of :data:`LAYOUTS`.

    Raises:
        DataError: for a wrong path; where no layout fits, with what was found and what is expected; where several do,
            with their names; or as the layout says.
        ValueError: if there is no such layout, with the names that there are.
    """
    root = Path(folder)
    if layout == AUTO:
        layout = _only_layout(root)
    elif layout not in LAYOUTS:
        raise ValueError(f"layout must be auto or one of {', '.join(LAYOUTS)}, got {layout!r}")
    found = LAYOUTS[layout](root)
    if not found.cases:
        raise DataError(f"{root}: holds no labeled case, only {len(found.unlabeled)} images; add labels to train on")
    return found


def _only_layout(root: Path) -> str:
    if fault := entry_fault(root):
        raise DataError(f"{root}: {fault}; expected the folder of a data set, or a list of cases")
    found = layouts_of(root)
    if not found and root.is_file():
        raise DataError(
            f"{root}: is a file, neither CSV nor JSON; expected the folder of a data set, or a list of cases"
        )
    if not found and (inside := _data_sets_in(root)):
        name = f"name {'it' if len(inside) == 1 else 'one'}: {root / inside[0][0]}"
        raise DataError(f"{root}: is no data set, but holds {_named(inside)}; {name}")
    if not found and root.name.lower() in PARTS and (above := layouts_of(root.parent)):
        raise DataError(f"{root}: is a part of a data set ({above[0]}); name the folder above it: {root.parent}")
    if len(found) > 1:
        raise DataError(f"{root}: fits several layouts, {', '.join(found)}; --layout NAME decides")
    if not found:
        raise DataError(f"{root}: {_described(root)}; {EXAMPLE.format(root=root, layouts=', '.join(_all()))}")
    archives = ARCHIVES[found[0]](root) if found[0] in ARCHIVES else [root]
    if root not in archives and (others := [one for one in _data_sets_in(root) if one[1] != found[0]]):
        raise DataError(
            f"{root}: holds {found[0]} data, and beside it {_named(others)}; name one data set: {archives[0]}"
        )
    if len(archives) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in archives)
        raise DataError(
            f"{root}: holds {len(archives)} data sets, {names}; name one of them: {archives[0]}, or take all as one "
            f"with --layout {found[0]}"
        )
    return found[0]


def _data_sets_in(root: Path) -> list[tuple[str, str]]:
    """The folders in a folder that are data sets, with their layout."""
    folders = [path for path in entries_of(root) if os.path.isdir(path)][:FOLDERS]
    return [(path.name, fits[0]) for path in folders if (fits := layouts_of(path))]


def _named(inside: list[tuple[str, str]]) -> str:
    what = "one" if len(inside) == 1 else f"{len(inside)} of them"
    more = ", ..." if len(inside) > ENTRIES else ""
    return f"{what}, {', '.join(f'{name} ({layout})' for name, layout in inside[:ENTRIES])}{more}"


def layouts_of(root: Path) -> list[str]:
    """The layouts that fit, by a folder's names alone; plain folders of images and labels only where no other does."""
    if not root.is_dir():
        return ["datalist"] if is_datalist(root) else []
    found = [name for name, fits in RECOGNIZED.items() if fits(root)]
    return found or (["images_labels"] if is_images_labels(root) else [])


def _all() -> list[str]:
    return sorted([*RECOGNIZED, "images_labels"])


def _described(root: Path) -> str:
    """What is there, in a line."""
    entries = entries_of(root)
    if not entries:
        return "is empty"
    names = [f"{path.name}/" if os.path.isdir(path) else path.name for path in entries]
    more = f" and {len(names) - ENTRIES} more" if len(names) > ENTRIES else ""
    return f"is in no known layout: it holds {', '.join(names[:ENTRIES])}{more}"
