"""What a person points inference at: a folder, a file, a DICOM series or a list of these."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.datasets.brats2020 import brats2020_images, brats2020_patient
from common.datasets.errors import DataError
from common.files import files_of, is_file_name

__all__ = ["case_of", "inference_datalist"]

logger = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
CHALLENGE_IMAGE = "lgemri.nrrd"
LABEL = re.compile(r"laendo\.nrrd|segmentation-\d+\.nii(\.gz)?")  # the atrial challenge's and LiTS's
BEGINNINGS = (b"\x00\x00", b"\x05\x00", b"\x08\x00", b"\x16\x00")  # of a data set without preamble
CHANNEL = re.compile(r"(.+)_0000(\.nii(?:\.gz)?)", re.IGNORECASE)  # nnU-Net's, FLARE's: an image's first channel


def inference_datalist(source: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """The images to predict.

    Args:
        source: one of

            * a folder of images (left out are labels: ``laendo.nrrd``, ``segmentation-<n>.nii``, and ``<case>.nii.gz``
              beside ``<case>_0000.nii.gz``);
            * a folder of the Decathlon, with ``dataset.json``: its test images, or else those of its training;
            * a folder of FLARE 2021: its ``val_images``, or else its ``train_images``;
            * a folder of folders, each holding ``lgemri.nrrd`` (the atrial challenge), a DICOM series or a patient of
              BraTS (``<patient>_{flair,t1,t1ce,t2}.nii``);
            * a folder that is a DICOM series or such a patient: one case;
            * an image file;
            * a list of any of these; or a ``.txt`` (a path a line) or ``.json`` file (an array of paths or of
              ``{"case", "image"}``, whose image may be an array of files, one for each channel) that holds one, with
              paths relative to that file.

    Returns:
        ``case`` and ``image`` of each; the case is as :func:`case_of` says, preceded by the folder's name where names
        clash.

    Raises:
        DataError: one message that names all that is missing, is no image, or clashes.
    """
    faults: list[str] = []
    found: list[dict[str, str]] = []
    for entry in _entries(source):
        item = {"image": entry} if isinstance(entry, str | Path) else dict(entry)
        files = [Path(file) for file in files_of(item["image"])]
        images = _images(files[0]) if len(files) == 1 else [files]
        faults += [f"{file}: {_why_nothing(file)}" for file in files if not images or not file.exists()]
        named = "case" in item and len(images) == 1
        found += [{"case": str(item["case"]) if named else case_of(image), "image": _texts(image)} for image in images]
    clashes = {case for case, n in Counter(item["case"] for item in found).items() if n > 1}
    for item in found:
        if item["case"] in clashes:
            item["case"] = f"{Path(os.path.abspath(files_of(item['image'])[0])).parent.name}_{item['case']}"
    still = {case for case, n in Counter(item["case"] for item in found).items() if n > 1}
    faults += [
        f"{files_of(item['image'])[0]}: another image is also called {item['case']}"
        for item in found
        if item["case"] in still
    ]
    if faults:
        raise DataError("These inputs cannot be used:\n" + "\n".join(f"  {fault}" for fault in faults))
    return found


def case_of(image: str | Path | Sequence[str | Path]) -> str:
    """The case id of an image: its name without suffix, and without the channel ``_0000`` of a NIfTI file's name.

    For the atrial challenge's ``lgemri.nrrd`` and for a DICOM series it is the folder's name; for the files of a
    patient of BraTS, the patient's.
    """
    path = Path(files_of(image)[0])
    if not isinstance(image, str | Path):
        return brats2020_patient(path) or case_of(path)
    if path.name == CHALLENGE_IMAGE:
        return Path(os.path.abspath(path)).parent.name
    if path.is_dir():
        return Path(os.path.abspath(path)).name
    if channel := CHANNEL.fullmatch(path.name):
        return channel[1]
    suffix = next((s for s in (*SUFFIXES, ".dcm") if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


def _entries(source: str | Path | Sequence) -> list:
    """Paths, or items with ``case`` and ``image``, that ``source`` stands for."""
    if not isinstance(source, str | Path):
        entries, base = list(source), None
    else:
        path = Path(source)
        base = path.parent
        if path.suffix.lower() not in (".txt", ".json") or path.is_dir():
            return [path]
        try:
            text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
            lines = (_unquoted(line.strip()) for line in text.splitlines())
            listed = json.loads(text) if path.suffix.lower() == ".json" else [x for x in lines if x and x[0] != "#"]
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a list of images ({error})") from None
        entries = listed if isinstance(listed, list) else [None]
    if not entries:
        raise DataError(f"{source}: an empty list; expected at least one image")
    for k, entry in enumerate(entries):
        if isinstance(entry, dict) and "case" in entry and not is_file_name(entry["case"]):
            raise DataError(
                f"{source}: case {entry['case']!r} is no name of a file; expected one without / and not empty"
            )
        if isinstance(entry, dict) and _is_path_or_paths(entry.get("image")):
            paths = [str(base / file) if base else file for file in files_of(entry["image"])]
            entries[k] = {**entry, "image": paths[0] if isinstance(entry["image"], str) else paths}
        elif isinstance(entry, str | Path):
            entries[k] = base / entry if base else entry
        else:
            raise DataError(f'{source}: expected an array of paths or of {{"case", "image"}}, got {entry!r}')
    return entries


def _unquoted(line: str) -> str:
    return line[1:-1] if len(line) > 2 and line[0] == line[-1] and line[0] in "'\"" else line


def _is_path_or_paths(image: object) -> bool:
    several = isinstance(image, list) and bool(image) and all(isinstance(file, str) for file in image)
    return isinstance(image, str) or several


def _texts(image: Path | list[Path]) -> str | list[str]:
    return [str(file) for file in image] if isinstance(image, list) else str(image)


def _images(path: Path) -> list[Path | list[Path]]:
    """The image files and series at ``path``, none where there are none; a list where each channel is a file."""
    if path.is_file():
        return [path] if path.name.lower().endswith(SUFFIXES) or _is_dicom(path) else []
    if not path.is_dir():
        return []
    if (path / "dataset.json").is_file():
        return _of_decathlon(path)
    if (path / "val_images").is_dir() or (path / "train_images").is_dir():
        return _of_flare21(path)
    if contrasts := brats2020_images(path):
        return [contrasts]
    entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    labels = {channel[1] + channel[2] for p in entries if (channel := CHANNEL.fullmatch(p.name))}
    files = [p for p in entries if p.is_file() and p.name.lower().endswith(SUFFIXES)]
    for p in entries:
        if not p.is_file() and (not p.is_dir() or p.name.lower().endswith(SUFFIXES)):
            logger.warning("%s: left out, %s", p, _why_left_out(p))
    files = [p for p in files if not LABEL.fullmatch(p.name) and p.name not in labels]
    if _is_series(path):
        return [] if files else [path]
    if files:
        return files
    return [image for p in entries if p.is_dir() and (image := _of_patient(p))]


def _of_patient(folder: Path) -> Path | list[Path] | None:
    """The one image in a patient's folder; where there is none, a warning says so."""
    if (folder / CHALLENGE_IMAGE).is_file():
        return folder / CHALLENGE_IMAGE
    if _is_series(folder):
        return folder
    contrasts = brats2020_images(folder)
    if not contrasts:
        logger.warning("%s: left out, it holds neither %s nor a DICOM series", folder, CHALLENGE_IMAGE)
    return contrasts


def _of_decathlon(folder: Path) -> list[Path]:
    from common.datasets.decathlon import decathlon_datalist

    try:
        cases = decathlon_datalist(folder, "test")
    except DataError:  # none listed
        cases = []
    if not any(Path(case["image"]).exists() for case in cases):  # many a copy was made without them
        logger.info("%s: no test images are there; the training images are predicted", folder)
        cases = decathlon_datalist(folder)
    return [Path(case["image"]) for case in cases]


def _of_flare21(folder: Path) -> list[Path]:
    from common.datasets.flare21 import flare21_datalist

    try:
        cases = flare21_datalist(folder, "val")
    except DataError:  # none there
        cases = flare21_datalist(folder)
    return [Path(case["image"]) for case in cases]


def _is_series(folder: Path) -> bool:
    """Whether the folder holds DICOM files, a DICOMDIR aside; how many series, the reader sees."""
    files = (p for p in folder.iterdir() if p.is_file() and p.name[0] != "." and p.name.upper() != "DICOMDIR")
    return any(_is_dicom(file) for file in files)


def _is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's magic after its 128-byte preamble (PS3.10, 7.1), or begins with group 0008."""
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or (head[:2] == b"\x08\x00" and head[2:4] in BEGINNINGS)


def _why_left_out(path: Path) -> str:
    if path.is_dir():
        return "a folder named like an image"
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    return "neither a file nor a folder"


def _why_nothing(path: Path) -> str:
    if not path.exists():
        return "no such file or folder"
    if path.is_file():
        return f"not an image; expected {', '.join(SUFFIXES)} or DICOM"
    if _is_series(path):
        return "holds DICOM files and other images; give the series a folder of its own"
    return f"holds no image; expected files {', '.join(SUFFIXES)}, DICOM, or <patient>/{CHALLENGE_IMAGE}"
