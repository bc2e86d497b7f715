"""What a person points inference at: a folder, a file, a DICOM series or a list of these."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Sequence
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.images import ImageSearch
from common.datasets.names import case_of, tell_apart
from common.files import entry_fault, files_of, is_file_name

__all__ = ["inference_datalist"]

EXPECTED_LIST = 'expected an array of paths or of {"case", "image"}'


def inference_datalist(
    source: str | Path | Sequence[str | Path], output_dir: str | Path | None = None
) -> list[dict[str, str]]:
    """The images to predict.

    Args:
        source: one of

            * a folder of images (left out are labels: ``laendo.nrrd``, ``segmentation-<n>.nii``, ``<case>.nii.gz``
              beside ``<case>_0000.nii.gz``; and predictions, ``<case>_seg.nii.gz`` beside ``<case>.nii.gz``); files
              ``<case>_0000``, ``<case>_0001``, ... are the channels of one image;
            * a folder of the Decathlon, with ``dataset.json``: its test images, or else those of its training;
            * a folder of nnU-Net, with ``dataset.json``, of BIDS, of ``images`` and ``labels``, or with a
              ``datalist.csv`` (or that file): its unlabeled images, or else those of its training;
            * a folder of FLARE 2021: its ``val_images``, or else its ``train_images``;
            * a folder of folders, each holding ``lgemri.nrrd`` (the atrial challenge), a patient of BraTS
              (``<patient>_{flair,t1,t1ce,t2}.nii``, ``<patient>-{t2f,t1n,t1c,t2w}.nii``) or a DICOM series, which may
              be in folders of its own (``PATIENT/STUDY/SERIES``);
            * a folder that is a DICOM series or such a patient: one case;
            * an image file;
            * a list of any of these; or a ``.txt`` (a path a line) or ``.json`` file (an array of paths or of
              ``{"case", "image"}``, whose image may be an array of files, one for each channel) that holds one, with
              paths relative to that file.

        output_dir: where predictions go; ``<case>_seg<suffix>`` right in it is one of an earlier run, no input.

    Returns:
        ``case`` and ``image`` of each; the case is as :func:`case_of` says, preceded by the names of its folders where
        names clash. What is passed over is logged, in a line for each reason.

    Raises:
        DataError: one message that names all that is missing, is no image, or clashes; or where nothing is left.
    """
    search = ImageSearch(output_dir)
    entries = _entries(source)
    faults: list[str] = []
    found: list[dict] = []
    for entry in entries:
        item = {"image": entry} if isinstance(entry, str | Path) else dict(entry)
        try:
            found += _items(item, search)
        except DataError as error:
            faults.append(str(error))
    search.left_out.tell()
    if len(entries) == len(faults) == 1:
        raise DataError(faults[0])
    if faults:
        head = f"{len(faults)} of {len(entries)} inputs cannot be used; correct or remove them:"
        raise DataError("\n  ".join([head, *faults]))
    if alike := tell_apart(found):
        raise DataError(alike[0] if len(alike) == 1 else "\n  ".join(["These inputs cannot be told apart:", *alike]))
    if not found:
        raise DataError(f"{source}: no case to predict: all that it holds are predictions written there")
    return [{"case": item["case"], "image": item["image"]} for item in found]


def _items(item: dict, search: ImageSearch) -> list[dict]:
    """The cases that an entry stands for."""
    files = [Path(file) for file in files_of(item["image"])]
    missing = [f"{file}: {fault}" for file in files if (fault := entry_fault(file))]
    if missing:
        raise DataError("; ".join(missing))
    images = search.at(files[0]) if len(files) == 1 else [files]
    if "case" not in item:
        named = [search.cases.get(files_of(image)[0]) or case_of(image) for image in images]
        return [{"case": case, "image": _texts(image)} for case, image in zip(named, images, strict=True)]
    if len(images) > 1:
        raise DataError(f"{files[0]}: holds {len(images)} images, which cannot all be case {item['case']}; list each")
    return [{"case": str(item["case"]), "image": _texts(image), "given": True} for image in images]


def _entries(source: str | Path | Sequence) -> list:
    """Paths, or items with ``case`` and ``image``, that ``source`` stands for."""
    if not isinstance(source, str | Path):
        entries, base = list(source), None
    else:
        path = Path(source)
        base = path.parent
        if path.suffix.lower() not in (".txt", ".json") or path.is_dir():
            return [path]
        if fault := entry_fault(path):
            raise DataError(f"{path}: {fault}; expected a list of images")
        try:
            text = _decoded(path.read_bytes())
            lines = (_unquoted(line.strip()) for line in text.split("\n"))
            listed = json.loads(text) if path.suffix.lower() == ".json" else [x for x in lines if x and x[0] != "#"]
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read as a list of images ({error})") from None
        if not isinstance(listed, list):
            raise DataError(f"{path}: holds a {type(listed).__name__}, {EXPECTED_LIST}")
        entries = listed
    if not entries:
        raise DataError(f"{source}: an empty list; expected at least one image")
    for k, entry in enumerate(entries):
        if isinstance(entry, dict) and "case" in entry and not is_file_name(entry["case"]):
            raise DataError(
                f"{source}: case {entry['case']!r} is no name of a file; expected one without / and not empty"
            )
        if isinstance(entry, dict) and _is_path_or_paths(entry.get("image")):
            paths = [str(_from(base, file)) for file in files_of(entry["image"])]
            entries[k] = {**entry, "image": paths[0] if isinstance(entry["image"], str) else paths}
        elif isinstance(entry, str | Path) and str(entry).strip():
            entries[k] = _from(base, entry)
        else:
            raise DataError(f"{source}: {EXPECTED_LIST}, got {entry!r}")
    return entries


def _from(base: Path | None, file: str | Path) -> Path:
    """A file of a list: ``~/`` is the home folder, and other paths are relative to the list's."""
    path = Path(file) if base is None else base / file
    home = str(file).startswith("~/") and not os.path.lexists(path)
    return Path(os.path.expanduser(file)) if home else path


def _decoded(content: bytes) -> str:
    """The text of a list: UTF-8 with or without a mark, or UTF-16, which Windows writes, with one."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig", errors="surrogateescape")


def _unquoted(line: str) -> str:
    return line[1:-1] if len(line) > 2 and line[0] == line[-1] and line[0] in "'\"" else line


def _is_path_or_paths(image: object) -> bool:
    several = isinstance(image, list) and bool(image) and all(isinstance(file, str) for file in image)
    return isinstance(image, str) or several


def _texts(image: Path | list[Path]) -> str | list[str]:
    return [str(file) for file in image] if isinstance(image, list) else str(image)
