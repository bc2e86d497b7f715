"""Layout of FLARE 2021: ``train_images/<case>_0000.nii.gz`` with ``train_mask/<case>.nii.gz``, and ``val_images``."""

from __future__ import annotations

import logging
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import LeftOut, entries_of
from common.datasets.layouts.data_set import DataSet
from common.datasets.names import case_of

__all__ = ["ORGANS", "flare21_data_set", "flare21_datalist", "is_flare21"]

IMAGES = {"train": "train_images", "val": "val_images"}
MASKS = "train_mask"
CHANNEL = "_0000.nii.gz"  # nnU-Net's suffix of an image's first and only channel
ORGANS = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}


def is_flare21(folder: Path) -> bool:
    """Whether there is a folder ``train_images``."""
    return (folder / IMAGES["train"]).is_dir()


def flare21_data_set(dataset_dir: str | Path) -> DataSet:
    """FLARE 2021: CT of the abdomen with four organs; ``val_images`` are unlabeled.

    Raises:
        DataError: as :func:`flare21_datalist`.
    """
    cases = flare21_datalist(dataset_dir)
    held_out = Path(dataset_dir) / IMAGES["val"]
    rest = flare21_datalist(dataset_dir, "val") if held_out.is_dir() and entries_of(held_out) else []
    return DataSet("flare21", cases, channels=("CT",), modality="CT", structures=ORGANS, unlabeled=rest)


def flare21_datalist(dataset_dir: str | Path, section: str = "train") -> list[dict[str, str]]:
    """The cases of a FLARE 2021 folder, sorted by id; image and mask belong together by their id.

    Args:
        dataset_dir: holds ``train_images`` and ``train_mask``, or ``val_images``. Hidden files are left alone;
            those that are no ``.nii.gz`` too, and named.
        section: ``"train"`` (images with masks) or ``"val"`` (images).

    Returns:
        ``case`` (such as ``train_000``), ``image`` and, in training, ``label`` of each id of which there is either.
        Whether its partner is there is for :func:`~common.datasets.check_datalist` to say, with all other faults.

    Raises:
        DataError: for a wrong path, a folder without cases, or images whose names lack ``_0000``: all are named.
    """
    root = Path(dataset_dir)
    images = root / IMAGES[section]
    expected = f"expected {images.name}/<case>{CHANNEL}" + (f" and {MASKS}/<case>.nii.gz" if section == "train" else "")
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; {expected}")
    found = _volumes(images)
    if wrong := [path for path in found if not path.name.lower().endswith(CHANNEL)]:
        lines = "\n".join(f"  {path}" for path in wrong)
        raise DataError(f"{images}: the names of images end in {CHANNEL}; rename or remove:\n{lines}")
    volumes = _by_case(found)
    masks = _by_case(_volumes(root / MASKS)) if section == "train" else {}
    cases = sorted({*volumes, *masks})
    if not cases:
        raise DataError(f"{root}: holds no cases; {expected}")
    items = [{"case": case, "image": str(volumes.get(case, images / f"{case}{CHANNEL}"))} for case in cases]
    if section == "train":
        names = {case: masks.get(case, root / MASKS / f"{case}.nii.gz") for case in cases}
        items = [{**item, "label": str(names[item["case"]])} for item in items]
    return items


def _volumes(folder: Path) -> list[Path]:
    """The compressed NIfTI files of a folder, none where there is no folder; other entries are named."""
    entries, left_out = entries_of(folder) if folder.is_dir() else [], LeftOut()
    volumes = [path for path in entries if path.name.lower().endswith(".nii.gz")]
    for path in entries:
        if path not in volumes:
            left_out.add(path, "no .nii.gz", level=logging.INFO)
    left_out.tell()
    return volumes


def _by_case(paths: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        case = case_of(path)
        if case in found:
            raise DataError(f"{found[case]}, {path}: both are called {case}; remove one of them")
        found[case] = path
    return found
