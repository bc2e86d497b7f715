"""What a person points inference at: a folder, a file, a DICOM series or a list of these."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.datasets.errors import DataError

__all__ = ["case_of", "inference_datalist"]

logger = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
CHALLENGE_IMAGE = "lgemri.nrrd"
LABEL = re.compile(r"laendo\.nrrd|segmentation-\d+\.nii(\.gz)?")  # the atrial challenge's and LiTS's
CHANNEL = re.compile(r"(.+)_0000(\.nii(?:\.gz)?)", re.IGNORECASE)  # nnU-Net's, FLARE's: an image's first channel


def inference_datalist(source: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """The images to predict.

    Args:
        source: one of

            * a folder of images (left out are labels: ``laendo.nrrd``, ``segmentation-<n>.nii``, and ``<case>.nii.gz``
              beside ``<case>_0000.nii.gz``);
            * a folder of the Decathlon, with ``dataset.json``: its test images, or else those of its training;
            * a folder of FLARE 2021: its ``val_images``, or else its ``train_images``;
            * a folder of folders, each holding ``lgemri.nrrd`` (the atrial challenge) or a DICOM series;
            * a folder that is a DICOM series: one case;
            * an image file;
            * a list of any of these; or a ``.txt`` (a path a line) or ``.json`` file (an array of paths or of
              ``{"case", "image"}``) that holds one, with paths relative to that file.

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
        path = Path(item["image"])
        images = _images(path)
        if not images:
            faults.append(f"{path}: {_why_nothing(path)}")
        named = "case" in item and len(images) == 1
        found += [{"case": str(item["case"]) if named else case_of(image), "image": str(image)} for image in images]
    clashes = {case for case, n in Counter(item["case"] for item in found).items() if n > 1}
    for item in found:
        if item["case"] in clashes:
            item["case"] = f"{Path(item['image']).resolve().parent.name}_{item['case']}"
    still = {case for case, n in Counter(item["case"] for item in found).items() if n > 1}
    faults += [
        f"{item['image']}: another image is also called {item['case']}" for item in found if item["case"] in still
    ]
    if faults:
        raise DataError("These inputs cannot be used:\n" + "\n".join(f"  {fault}" for fault in faults))
    return found


def case_of(image: str | Path) -> str:
    """The case id of an image: its name without suffix, and without the channel ``_0000`` of a NIfTI file's name.

    For the atrial challenge's ``lgemri.nrrd`` and for a DICOM series it is the folder's name.
    """
    path = Path(image)
    if path.name == CHALLENGE_IMAGE:
        return path.resolve().parent.name
    if path.is_dir():
        return path.resolve().name
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
            text = path.read_text()
            lines = (line.strip() for line in text.splitlines())
            listed = json.loads(text) if path.suffix.lower() == ".json" else [x for x in lines if x and x[0] != "#"]
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a list of images ({error})") from None
        entries = listed if isinstance(listed, list) else [None]
    if not entries:
        raise DataError(f"{source}: an empty list; expected at least one image")
    for k, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("image"), str):
            entries[k] = {**entry, "image": str(base / entry["image"]) if base else entry["image"]}
        elif isinstance(entry, str | Path):
            entries[k] = base / entry if base else entry
        else:
            raise DataError(f'{source}: expected an array of paths or of {{"case", "image"}}, got {entry!r}')
    return entries


def _images(path: Path) -> list[Path]:
    """The image files and series at ``path``, none where there are none."""
    if path.is_file():
        return [path] if path.name.lower().endswith(SUFFIXES) or _is_dicom(path) else []
    if not path.is_dir():
        return []
    if (path / "dataset.json").is_file():
        return _of_decathlon(path)
    if (path / "val_images").is_dir() or (path / "train_images").is_dir():
        return _of_flare21(path)
    entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    labels = {channel[1] + channel[2] for p in entries if (channel := CHANNEL.fullmatch(p.name))}
    files = [p for p in entries if p.is_file() and p.name.lower().endswith(SUFFIXES)]
    files = [p for p in files if not LABEL.fullmatch(p.name) and p.name not in labels]
    if _is_series(path):
        return [] if files else [path]
    if files:
        return files
    folders = [p for p in entries if p.is_dir()]
    for folder in folders:
        if not _is_case(folder):
            logger.warning("%s: left out, it holds neither %s nor a DICOM series", folder, CHALLENGE_IMAGE)
    return [p / CHALLENGE_IMAGE if (p / CHALLENGE_IMAGE).is_file() else p for p in folders if _is_case(p)]


def _of_decathlon(folder: Path) -> list[Path]:
    from common.datasets.decathlon import decathlon_datalist

    try:
        cases = decathlon_datalist(folder, "test")
    except DataError:  # many a copy has no test images
        cases = decathlon_datalist(folder)
    return [Path(case["image"]) for case in cases]


def _of_flare21(folder: Path) -> list[Path]:
    from common.datasets.flare21 import flare21_datalist

    try:
        cases = flare21_datalist(folder, "val")
    except DataError:  # none there
        cases = flare21_datalist(folder)
    return [Path(case["image"]) for case in cases]


def _is_case(folder: Path) -> bool:
    return (folder / CHALLENGE_IMAGE).is_file() or _is_series(folder)


def _is_series(folder: Path) -> bool:
    """Whether the folder holds DICOM files, a DICOMDIR aside; how many series, the reader sees."""
    files = (p for p in folder.iterdir() if p.is_file() and p.name[0] != "." and p.name.upper() != "DICOMDIR")
    return any(_is_dicom(file) for file in files)


def _is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's magic after its 128-byte preamble (PS3.10, 7.1)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _why_nothing(path: Path) -> str:
    if not path.exists():
        return "no such file or folder"
    if path.is_file():
        return f"not an image; expected {', '.join(SUFFIXES)} or DICOM"
    if _is_series(path):
        return "holds DICOM files and other images; give the series a folder of its own"
    return f"holds no image; expected files {', '.join(SUFFIXES)}, DICOM, or <patient>/{CHALLENGE_IMAGE}"
