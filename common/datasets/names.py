"""What an image's case is called."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.datasets.errors import DataError
from common.datasets.layouts.brats import brats_patient
from common.files import files_of

__all__ = ["CHALLENGE_IMAGE", "CHANNEL", "SUFFIXES", "case_of", "equal_names", "named_cases", "tell_apart"]

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
CHALLENGE_IMAGE = "lgemri.nrrd"
CHANNEL = re.compile(  # nnU-Net's, FLARE's: an image's first channel
    rf"(.+)_0000({'|'.join(map(re.escape, SUFFIXES))})", re.IGNORECASE | re.DOTALL
)


def case_of(image: str | Path | Sequence[str | Path]) -> str:
    """The case id of an image: its name without suffix, and without the channel ``_0000``.

    For the atrial challenge's ``lgemri.nrrd`` and for a DICOM series it is the folder's name; for the files of a
    patient of BraTS, the patient's.
    """
    path = Path(files_of(image)[0])
    if not isinstance(image, str | Path):
        return brats_patient(path) or case_of(path)
    if path.name.lower() == CHALLENGE_IMAGE:
        return Path(os.path.abspath(path)).parent.name
    if os.path.isdir(path):
        return Path(os.path.abspath(path)).name
    if channel := CHANNEL.fullmatch(path.name):
        return channel[1]
    suffix = next((s for s in (*SUFFIXES, ".dcm") if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


def named_cases(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items, each with a ``case``: hosts give images and labels alone, then it is the image's :func:`case_of`.

    Images of one name are told apart by their folders. An item that is there several times has one name.

    Args:
        items: with a ``case``, or the path or paths of an ``image``; others stay as they are.

    Raises:
        DataError: for different images that cannot be told apart.
    """
    images: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in items:
        if _is_path(image := item.get("image")):
            name = {"case": item["case"], "given": True} if "case" in item else {"case": case_of(image)}
            images.setdefault(tuple(files_of(image)), {"image": image, **name})
    if all(name.get("given") for name in images.values()):
        return list(items)
    if faults := tell_apart(list(images.values())):
        raise DataError("cases cannot be told apart:\n" + "\n".join(f"  {fault}" for fault in faults))
    return [
        {**item, "case": images[tuple(files_of(item["image"]))]["case"]}
        if "case" not in item and _is_path(item.get("image"))
        else item
        for item in items
    ]


def equal_names(cases: Sequence[dict]) -> dict[str, str]:
    """What is wrong with cases of one name, by that name."""
    times = Counter(item["case"] for item in cases)
    return {case: f"{n} cases have this id" for case, n in times.items() if n > 1}


def tell_apart(items: Sequence[dict]) -> list[str]:
    """Precede equal names by those of their folders, as many as it takes: ``PATIENT1_STUDY1_SERIES1``.

    Args:
        items: with ``case`` and ``image``, changed in place; a ``case`` that a person gave stays, marked ``given``.

    Returns:
        What is still wrong, a line each: images that cannot be told apart, and names given twice.
    """
    folders = [_folders(item) for item in items]
    bare = [item["case"] for item in items]
    depths = [0] * len(items)
    while True:
        times = Counter(item["case"] for item in items)
        longer = [
            k
            for k, item in enumerate(items)
            if times[item["case"]] > 1 and not item.get("given") and depths[k] < len(folders[k])
        ]
        if not longer:
            break
        for k in longer:
            depths[k] += 1
            items[k]["case"] = "_".join([*folders[k][-depths[k] :], bare[k]])
    faults: dict[str, list[tuple[str, str]]] = {}
    for k, item in enumerate(items):
        if times[item["case"]] > 1:
            faults.setdefault(item["case"], []).append((bare[k], files_of(item["image"])[0]))
    return [_alike(pairs[0][0], [file for _, file in pairs]) for pairs in faults.values()]


def _alike(case: str, files: list[str]) -> str:
    if len({os.path.realpath(file) for file in files}) == 1:
        return f"{files[0]}: is there {len(files)} times; leave it once"
    remedy = "rename all but one, or name them in a list of {case, image}"
    return f"{', '.join(files)}: all are called {case}; {remedy}"


def _folders(item: dict) -> tuple[str, ...]:
    """The folders above an image, but for one that has the case's name."""
    parts = Path(os.path.abspath(files_of(item["image"])[0])).parts[1:-1]
    return parts[:-1] if parts and parts[-1] == item["case"] else parts


def _is_path(image: Any) -> bool:
    """Whether an image is that of a file, a folder or several files, and not their content."""
    parts = image if isinstance(image, list | tuple) and image else [image]
    return all(isinstance(part, str | Path) for part in parts)
