"""Layout of nnU-Net's raw data sets: ``imagesTr/CASE_0000.nii.gz``, a file for each channel, and ``dataset.json``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from common.datasets.errors import DataError
from common.datasets.folders import LeftOut, entries_of
from common.datasets.layouts.channel_files import channel_of, images_by_case, suffix_of
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.dataset_json import LISTING, described_by, read_listing
from common.datasets.names import SUFFIXES

__all__ = ["is_nnunet", "nnunet_data_set"]

IMAGES, LABELS, TEST = "imagesTr", "labelsTr", "imagesTs"
KEYS = ("channel_names", "file_ending", "regions_class_order", "dataset")  # of version 2, and not the Decathlon's


def is_nnunet(folder: Path) -> bool:
    """Whether ``dataset.json`` is nnU-Net's: by its keys, or as images are named ``CASE_0000`` but not listed so."""
    listing = folder / LISTING
    if not listing.is_file():
        return False
    try:
        content = read_listing(listing)
    except DataError:  # whoever reads it says why it cannot be
        return False
    listed = content.get("training")
    first = listed[0] if isinstance(listed, list) and listed else None
    image = first.get("image") if isinstance(first, dict) else first
    if isinstance(image, str) and (folder / image).exists():
        return False
    if any(key in content for key in KEYS):
        return True
    return (folder / IMAGES).is_dir() and any(channel_of(path) for path in entries_of(folder / IMAGES))


def nnunet_data_set(dataset_dir: str | Path) -> DataSet:
    """A raw data set of nnU-Net, version 1 or 2.

    Args:
        dataset_dir: holds ``dataset.json``, ``imagesTr``, ``labelsTr`` and perhaps ``imagesTs``; such as
            ``nnUNet_raw/Dataset027_ACDC``. ``file_ending`` may be any of
            :data:`~common.datasets.names.SUFFIXES`; where it is not given, all are taken. Where ``dataset`` lists the
            cases, it is followed instead.

    Returns:
        The cases, sorted by name, with channels, structures, regions, ignored value, and the images of ``imagesTs``. A
        file that is missing is expected beside the others, for :func:`~common.datasets.check_datalist` to name.

    Raises:
        DataError: for a wrong path, a ``dataset.json`` that cannot be used, or a folder without cases.
    """
    root = Path(dataset_dir)
    listing = root / LISTING
    if not listing.is_file():
        raise DataError(f"{listing}: missing; expected the folder of a raw data set, with {IMAGES}/CASE_0000.nii.gz")
    content = read_listing(listing)
    described = described_by(content, listing)
    suffixes = _suffixes(content, listing)
    channels = len(described["channels"]) or None
    listed = content.get("dataset")
    cases = _listed(listed, root, listing) if listed is not None else _paired(root, channels, suffixes)
    tests = _images(root / TEST, channels, suffixes)
    rest = [{"case": case, "image": _text(image)} for case, image in tests.items()]
    if not cases and not rest:
        raise DataError(
            f"{root}: holds no cases; expected {IMAGES}/CASE_0000{suffixes[0]} and {LABELS}/CASE{suffixes[0]}"
        )
    return DataSet("nnunet", cases, **described, unlabeled=rest)


def _suffixes(content: dict[str, Any], listing: Path) -> tuple[str, ...]:
    ending = content.get("file_ending")
    if ending is None:
        return SUFFIXES
    if not isinstance(ending, str) or ending.lower() not in SUFFIXES:
        raise DataError(f"{listing}: file_ending is {ending!r}, expected one of {', '.join(SUFFIXES)}")
    return (ending,)


def _paired(root: Path, channels: int | None, suffixes: tuple[str, ...]) -> list[dict]:
    images, labels = _images(root / IMAGES, channels, suffixes), {}
    for path in entries_of(root / LABELS) if (root / LABELS).is_dir() else []:
        if suffix := suffix_of(path.name, suffixes):
            case = path.name.removesuffix(suffix)
            if case in labels:
                raise DataError(f"{labels[case]}, {path}: both are called {case}; remove one of them")
            labels[case] = path
    some = next(iter([*labels.values(), *(_files(image)[0] for image in images.values())]), None)
    ending = suffixes[0] if some is None else suffix_of(some.name, suffixes)
    count = channels or max((len(_files(image)) for image in images.values()), default=1)
    expected = {case: [root / IMAGES / f"{case}_{k:04d}{ending}" for k in range(count)] for case in labels}
    return [
        {
            "case": case,
            "image": _text(images.get(case) or (expected[case] if count > 1 else expected[case][0])),
            "label": str(labels.get(case, root / LABELS / f"{case}{ending}")),
        }
        for case in sorted({*images, *labels})
    ]


def _images(folder: Path, channels: int | None, suffixes: tuple[str, ...]) -> dict[str, Path | list[Path]]:
    """The images of a folder, none where there is no folder; what is no image is named."""
    entries, left_out = entries_of(folder) if folder.is_dir() else [], LeftOut()
    for path in entries:
        if channel_of(path, suffixes) is None:
            left_out.add(path, f"not named CASE_0000{suffixes[0]}", level=logging.INFO)
    left_out.tell()
    return images_by_case(entries, channels=channels, suffixes=suffixes)


def _listed(dataset: Any, root: Path, listing: Path) -> list[dict]:
    """The cases that ``dataset`` names: ``{"CASE": {"images": [...], "label": ...}}``, relative to the folder."""
    cases = []
    for case, files in dataset.items() if isinstance(dataset, dict) else [("", None)]:
        images, label = (files.get("images"), files.get("label")) if isinstance(files, dict) else (None, None)
        images = [images] if isinstance(images, str) else images
        are_paths = isinstance(images, list) and images and all(isinstance(file, str) for file in images)
        if not isinstance(label, str) or not are_paths:
            raise DataError(f'{listing}: "dataset" has no "images" and "label" of {case or "any case"}')
        paths = [root / file for file in images]
        image = _text(paths if len(paths) > 1 else paths[0])
        cases.append({"case": str(case), "image": image, "label": str(root / label)})
    return sorted(cases, key=lambda item: item["case"])


def _files(image: Path | list[Path]) -> list[Path]:
    return image if isinstance(image, list) else [image]


def _text(image: Path | list[Path]) -> str | list[str]:
    return [str(path) for path in image] if isinstance(image, list) else str(image)
