"""Look at every file before the first epoch, and say everything that is wrong with them at once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.datasets.errors import DataError
from common.datasets.names import equal_names
from common.files import files_of, whole_file
from common.transforms.readers import NiftiReader, VolumeReader
from common.transforms.volumes import grid_faults, header_faults, image_faults, label_faults, unreadable

__all__ = ["check_datalist", "is_whole"]

logger = logging.getLogger(__name__)

THREADS = 2
RULES = 3  # another number with every change of the rules: what passed the old ones is read again


def check_datalist(
    datalist: Sequence[dict[str, str]],
    *,
    channels: int = 1,
    label_values: Sequence[int] = (0, 1),
    cache_file: str | Path | None = None,
) -> None:
    """Check that every case can be trained on or predicted.

    Checked are: case ids are unique; files exist and can be read to their end; what :mod:`common.transforms.volumes`
    says of headers, images and labels, as where they are loaded; image, all its channels, and label lie on one grid;
    the label has a foreground.

    Args:
        datalist: items with ``case``, ``image`` and perhaps ``label``, in any format that MONAI's readers know; an
            image may be a list of files, one for each channel.
        channels: of every image.
        label_values: values that labels may have.
        cache_file: JSON file where good cases are remembered by size and time of their files, so that they are not
            read again.

    Raises:
        DataError: one message with every offender and every fault.
    """
    parameters = {"channels": channels, "label_values": sorted(int(v) for v in label_values), "rules": RULES}
    known = _remembered(cache_file)
    verdicts = [_signature(item, parameters) for item in datalist]
    unseen = [k for k, item in enumerate(datalist) if verdicts[k] is None or known.get(_name(item)) != verdicts[k]]
    if unseen:
        logger.info("checking %d of %d cases", len(unseen), len(datalist))
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda k: _faults(datalist[k], channels, parameters["label_values"]), unseen))
    faults = {k: lines for k, lines in zip(unseen, found, strict=True) if lines}
    good = {_name(datalist[k]): verdicts[k] for k in unseen if k not in faults and verdicts[k] is not None}
    if good:
        _remember(cache_file, {**known, **good})
    lines = [f"  {datalist[k]['case']}: {line}" for k in sorted(faults) for line in faults[k]]
    twice = equal_names(datalist)
    lines += [f"  {case}: {fault}" for case, fault in twice.items()]
    if lines:
        bad = len({datalist[k]["case"] for k in faults} | set(twice))
        cases = {item["case"] for item in datalist}
        raise DataError(f"{bad} of {len(cases)} cases cannot be used; correct or remove them:\n" + "\n".join(lines))


def is_whole(path: str | Path) -> bool:
    """Whether a volume is there and can be read to its end."""
    return _volume(str(path), []) is not None


def _faults(item: dict[str, str], channels: int, label_values: list[int]) -> list[str]:
    """What is wrong with one case: ``<file>: <fault>`` each."""
    faults: list[str] = []
    files = files_of(item["image"])
    if len(files) not in (1, channels):
        faults.append(f"{files[0]}: one of {len(files)} channels, expected {channels}")
    grid = None  # of the image's first readable file
    for file in files:
        image = _volume(file, faults)
        if image is None:
            continue
        expected = channels if len(files) == 1 else 1
        grid = grid or (_grid(image), file)
        wrong = image_faults(*image, channels=expected) + grid_faults(_grid(image), grid[0], like=grid[1])
        faults += [f"{file}: {fault}" for fault in wrong]
    label = _volume(item["label"], faults) if "label" in item else None
    if label is not None:
        wrong = label_faults(*label, values=label_values)
        wrong += [] if label[0].any() else ["label is empty"]
        wrong += grid_faults(_grid(label), grid[0], like="the image") if grid is not None else []
        faults += [f"{item['label']}: {fault}" for fault in wrong]
    return faults


def _grid(volume: tuple[np.ndarray, np.ndarray]) -> tuple[tuple[int, ...], np.ndarray]:
    return volume[0].shape[1:], volume[1]


def _name(item: dict[str, str]) -> str:
    """Under what a case is remembered."""
    return files_of(item["image"])[0]


def _volume(path: str, faults: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """The volume (C, X, Y, Z) and its affine (4, 4), or None with the reason added to ``faults``."""
    wrong = header_faults(path)
    if wrong:
        faults += [f"{path}: {fault}" for fault in wrong]
        return None
    try:
        reader = _reader(path)
        array, meta = reader.get_data(reader.read(path))
        affine = np.asarray(meta["affine"], float)
    except Exception as error:  # the formats' libraries raise errors of all kinds
        faults.append(unreadable(path, error))
        return None
    channel = meta["original_channel_dim"]
    no_channel = channel == "no_channel" or np.isnan(channel)
    array = array[None] if no_channel else np.moveaxis(array, int(channel), 0)  # (C, X, Y, Z)
    return array, affine


def _reader(path: str):
    """The lightest of the readers that put a file in its place, so that no other library is imported."""
    from monai.data import image_reader

    if path.lower().endswith((".nii", ".nii.gz")):
        return NiftiReader()
    reader = VolumeReader()
    if path.lower().endswith(".nrrd") and not reader.verify_suffix(path):
        return image_reader.NrrdReader()
    return reader


def _signature(item: dict[str, str], parameters: dict) -> dict | None:
    """What a verdict depends on, or None where a file is missing or a folder (a DICOM series) that has no time."""
    files = [file for key in ("image", "label") if key in item for file in files_of(item[key])]
    if not all(os.path.isfile(file) for file in files):
        return None
    stats = {file: (os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files}
    return {"files": {file: list(stat) for file, stat in stats.items()}, **parameters}


def _remembered(cache_file: str | Path | None) -> dict:
    try:
        known = json.loads(Path(cache_file).read_text()) if cache_file is not None else {}
    except (OSError, ValueError):  # none yet, or damaged: check again
        return {}
    return known if isinstance(known, dict) else {}


def _remember(cache_file: str | Path | None, verdicts: dict) -> None:
    if cache_file is None:
        return
    try:
        with whole_file(cache_file) as file:
            file.write_text(json.dumps(verdicts, indent=1))
    except OSError as error:  # costs time at the next start, nothing now
        logger.warning("%s: cannot be written (%s)", cache_file, error.strerror or error)
