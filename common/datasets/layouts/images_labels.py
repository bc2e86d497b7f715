"""Plain layout: a folder of images and a folder of labels with equal names, or both in one folder with suffixes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import LeftOut, entries_of
from common.datasets.layouts.channel_files import channels_in, images_by_case, suffix_of
from common.datasets.layouts.data_set import DataSet
from common.files import files_of

__all__ = ["images_labels_data_set", "is_images_labels"]

IMAGES = ("images", "image", "imgs", "img", "imagestr", "scans", "volumes")
LABELS = ("labels", "label", "masks", "mask", "labelstr", "maskstr", "segmentations", "segmentation")
TEST = ("imagests", "test_images", "images_test")
IMAGE_END = re.compile(r"[_-](image|img|scan|volume)$", re.IGNORECASE)
LABEL_END = re.compile(r"[_-](label|labels|mask|seg|segmentation|gt)$", re.IGNORECASE)
EXPECTED = "images/CASE.nii.gz and labels/CASE.nii.gz, or CASE_image.nii.gz and CASE_label.nii.gz"


def is_images_labels(folder: Path) -> bool:
    """Whether a folder of images and one of labels lie side by side, or there is a ``CASE_image`` and a ``CASE_label``.

    A ``dataset.json`` beside ``imagesTr`` is of another layout.
    """
    if (folder / "dataset.json").is_file():
        return False
    if _one(folder, IMAGES) and _one(folder, LABELS):
        return True
    ends = {kind: _stems(entries_of(folder), end) for kind, end in (("image", IMAGE_END), ("label", LABEL_END))}
    return bool(ends["image"] & ends["label"])


def images_labels_data_set(dataset_dir: str | Path) -> DataSet:
    """Images and labels that belong together by their names.

    Args:
        dataset_dir: holds ``images`` and ``labels``, ``image`` and ``label``, ``images`` and ``masks``, ``imagesTr``
            and ``labelsTr`` or the like (in capitals or not), with files of equal names in any format; these may end in
            ``_image`` and ``_label`` (``_mask``, ``_seg``), and then lie in one folder too. Where images are called
            ``CASE_0000``, ``CASE_0001``, ..., as nnU-Net's, these are channels. ``imagesTs`` holds unlabeled ones.

    Returns:
        The cases, sorted by name. Nothing is said of channels and structures. A missing partner is expected under the
        name of its case, for :func:`~common.datasets.check_datalist` to name.

    Raises:
        DataError: for a wrong path, a folder without cases, or two files of one case.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {EXPECTED}")
    image_dir, label_dir = _one(root, IMAGES), _one(root, LABELS)
    if image_dir and label_dir:
        image_files, label_files = _volumes(image_dir), _volumes(label_dir)
    else:
        image_dir = label_dir = root
        files = _volumes(root)
        image_files = [path for path in files if IMAGE_END.search(_stem(path))]
        label_files = [path for path in files if LABEL_END.search(_stem(path))]
    labels = _by_case(label_files, LABEL_END)
    images = _images(image_files, labels)
    cases = sorted({*images, *labels})
    if not cases:
        raise DataError(f"{root}: holds no cases; expected {EXPECTED}")
    some = next(iter([*image_files, *label_files]))
    ending = suffix_of(some.name)
    items = []
    for case in cases:
        image = images.get(case) or _partner(image_dir / f"{case}{ending}", images.values())
        label = labels.get(case, label_dir / f"{case}{ending}")
        items.append({"case": case, "image": _text(image), "label": str(label)})
    test_dir = _one(root, TEST)
    tests = _images(_volumes(test_dir)) if test_dir else {}
    rest = [{"case": case, "image": _text(image)} for case, image in tests.items()]
    return DataSet("images_labels", items, unlabeled=rest)


def _one(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The folder of one of these names, in capitals or not; the first of the names counts."""
    found = {path.name.lower(): path for path in entries_of(folder) if os.path.isdir(path)}
    return next((found[name] for name in names if name in found), None)


def _volumes(folder: Path) -> list[Path]:
    left_out, files = LeftOut(), []
    for path in entries_of(folder):
        if suffix_of(path.name):
            files.append(path)
        elif not os.path.isdir(path):
            left_out.add(path, "no image")
    left_out.tell()
    return files


def _images(files: list[Path], labels: Iterable[str] = ()) -> dict[str, Path | list[Path]]:
    """The images by case; ``CASE_0000`` is a channel of ``CASE`` unless a label is called so too."""
    by_name = _by_case(files, IMAGE_END)
    channels = channels_in(files)
    if not channels or set(labels) & set(by_name):
        return dict(by_name)
    return images_by_case(files, channels=channels)


def _by_case(files: list[Path], end: re.Pattern[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        case = end.sub("", _stem(path))
        if case in found:
            raise DataError(f"{found[case]}, {path}: both are called {case}; remove one of them")
        found[case] = path
    return dict(sorted(found.items()))


def _partner(path: Path, images: Iterable[Path | list[Path]]) -> Path | list[Path]:
    """Where the image of a label is expected, in as many files as the others are."""
    count = max((len(files_of(image)) for image in images), default=1)
    ending = suffix_of(path.name)
    stem = str(path).removesuffix(ending)
    return path if count == 1 else [Path(f"{stem}_{k:04d}{ending}") for k in range(count)]


def _stems(paths: list[Path], end: re.Pattern[str]) -> set[str]:
    return {end.sub("", _stem(path)) for path in paths if suffix_of(path.name) and end.search(_stem(path))}


def _stem(path: Path) -> str:
    return path.name.removesuffix(suffix_of(path.name))


def _text(image: Path | list[Path]) -> str | list[str]:
    return [str(path) for path in image] if isinstance(image, list) else str(image)
