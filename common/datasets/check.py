"""Look at every file before the first epoch, and say everything that is wrong with them at once."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.datasets.errors import DataError
from common.datasets.intensities import look_of
from common.datasets.names import equal_names
from common.files import files_of, whole_file
from common.transforms.readers import NiftiReader, VolumeReader
from common.transforms.volumes import ROUNDING, grid_faults, header_faults, image_faults, label_faults, unreadable

__all__ = ["Seen", "check_datalist", "is_whole", "read_volume"]

logger = logging.getLogger(__name__)

THREADS = 2
RULES = 5  # another number with every change of the rules: what passed the old ones is read again


class Seen(NamedTuple):
    """What one case is like."""

    faults: list[str]  # <file>: <fault>
    looks: list[str]  # of each channel: its modality, empty in doubt
    values: list[int]  # in the label, of those allowed
    extent_mm: list[float]  # of the image, along the axes nearest to z, y, x


def check_datalist(
    datalist: Sequence[dict[str, str]],
    *,
    channels: int = 1,
    label_values: Sequence[int] = (0, 1),
    structures: Mapping[str, int | Sequence[int]] | None = None,
    cache_file: str | Path | None = None,
) -> dict[str, Seen]:
    """Check that every case can be trained on or predicted, and all of them together.

    Checked are: case ids are unique; files exist and can be read to their end; what :mod:`common.transforms.volumes`
    says of headers, images and labels, as where they are loaded; image, all its channels, and label lie on one grid;
    the label has a foreground; a channel is not a CT in one case and surely none in another; no structure is in no
    label at all.

    Args:
        datalist: items with ``case``, ``image`` and perhaps ``label``, in any format that MONAI's readers know; an
            image may be a list of files, one for each channel.
        channels: of every image.
        label_values: values that labels may have.
        structures: name -> value or values that at least one label must have, of ``label_values``.
        cache_file: JSON file where good cases are remembered by size and time of their files, so that they are not
            read again.

    Returns:
        What each case is like, by its id.

    Raises:
        DataError: one message with every offender and every fault; a single one in one line.
    """
    parameters = {"channels": channels, "label_values": sorted(int(v) for v in label_values), "rules": RULES}
    known = _remembered(cache_file)
    verdicts = [_signature(item, parameters) for item in datalist]
    remembered = [known.get(_name(item)) for item in datalist]
    unseen = [
        k
        for k, (verdict, old) in enumerate(zip(verdicts, remembered, strict=True))
        if verdict is None or not isinstance(old, dict) or {**old, "seen": None} != {**verdict, "seen": None}
    ]
    if unseen:
        logger.info("checking %d of %d cases", len(unseen), len(datalist))
    with ThreadPoolExecutor(THREADS) as pool:
        looked = pool.map(lambda k: _seen(datalist[k], channels, parameters["label_values"]), unseen)
        read = dict(zip(unseen, looked, strict=True))
    seen = {k: read[k] if k in read else Seen(**remembered[k]["seen"]) for k in range(len(datalist))}
    good = {
        _name(datalist[k]): {**verdicts[k], "seen": {**own._asdict(), "faults": []}}
        for k, own in read.items()
        if not own.faults and verdicts[k] is not None
    }
    if good:
        _remember(cache_file, {**known, **good})
    lines = _grouped([(datalist[k]["case"], line) for k in unseen for line in seen[k].faults])
    twice = equal_names(datalist)
    lines += [f"  {case}: {fault}" for case, fault in twice.items()]
    together = _faults_together(datalist, seen, structures or {})
    if lines:
        bad = len({datalist[k]["case"] for k in unseen if seen[k].faults} | set(twice))
        cases = {item["case"] for item in datalist}
        lines.insert(0, f"{bad} of {len(cases)} cases cannot be used; correct or remove them:")
    if together:
        lines += ["the data set cannot be used as it is:", *(f"  {line}" for line in together)]
    if lines:
        raise DataError(" ".join(map(str.strip, lines)) if len(lines) == 2 else "\n".join(lines))
    return {item["case"]: seen[k] for k, item in enumerate(datalist)}


def _grouped(faults: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each fault; label values that several cases have, and none may have, are said once."""
    lines: dict[str, str] = {}
    for case, line in faults:
        value = re.search(r": (label value .*)", line)
        if value is not None and value[1] in lines:
            lines[value[1]] += f", {case}"
        else:
            lines[value[1] if value else line] = f"  {case}: {line}"
            if value and sum(other.endswith(value[0]) for _, other in faults) > 1:
                lines[value[1]] += "; correct the labels, or name it among the structures; the same in"
    return [line.replace("; the same in, ", "; the same in ") for line in lines.values()]


def _faults_together(
    datalist: Sequence[dict], seen: Mapping[int, Seen], structures: Mapping[str, int | Sequence[int]]
) -> list[str]:
    """What is wrong with cases none of which is wrong by itself."""
    faults, seen = [], {k: own for k, own in seen.items() if not own.faults}
    for channel in range(max((len(own.looks) for own in seen.values()), default=0)):
        of = {look: k for k, own in reversed(seen.items()) for look in own.looks[channel : channel + 1] if look}
        if len(of) > 1:
            named = [f"{_file(datalist[k], channel)} looks like {look}" for look, k in sorted(of.items())]
            where = f" in channel {channel}" if any(len(own.looks) > 1 for own in seen.values()) else ""
            faults.append(f"two modalities{where}: {', '.join(named)}; train on one of them")
    labels = [item["label"] for item in datalist if "label" in item]
    present = {value for own in seen.values() for value in own.values}
    for name, values in structures.items() if present else []:
        wanted = [values] if isinstance(values, int) else list(values)
        if not present.intersection(wanted):
            faults.append(
                f"{name} ({', '.join(map(str, wanted))}) is in none of the {len(labels)} labels, such as {labels[0]}; "
                "add a case that has it, or do not name it"
            )
    return faults


def _file(item: dict, channel: int) -> str:
    files = files_of(item["image"])
    return files[channel] if channel < len(files) else files[0]


def is_whole(path: str | Path) -> bool:
    """Whether a volume is there and can be read to its end."""
    return read_volume(str(path), []) is not None


def _seen(item: dict[str, str], channels: int, label_values: list[int]) -> Seen:
    """One case, read."""
    faults: list[str] = []
    looks, values = [], []
    files = files_of(item["image"])
    if len(files) not in (1, channels):
        faults.append(f"{files[0]}: one of {len(files)} channels, expected {channels}")
    grid = None  # of the image's first readable file
    for file in files:
        image = read_volume(file, faults)
        if image is None:
            continue
        expected = channels if len(files) == 1 else 1
        grid = grid or (_grid(image), file)
        wrong = image_faults(*image, channels=expected) + grid_faults(_grid(image), grid[0], like=grid[1])
        faults += [f"{file}: {fault}" for fault in wrong]
        looks += [look.modality if not look.doubt else "" for look in map(look_of, image[0])]
    label = read_volume(item["label"], faults) if "label" in item else None
    if label is not None:
        wrong = label_faults(*label, values=label_values)
        wrong += [] if label[0].any() else ["label is empty"]
        wrong += grid_faults(_grid(label), grid[0], like="the image") if grid is not None else []
        faults += [f"{item['label']}: {fault}" for fault in wrong]
        values = [value for value in label_values if _holds(label[0], value)]
    return Seen(faults, looks, values, [] if grid is None else _extent(*grid[0]))


def _extent(shape: tuple[int, ...], affine: np.ndarray) -> list[float]:
    """Voxels times their side in mm, along the axes that are nearest to the patient's z, y, x."""
    from nibabel.orientations import io_orientation

    if not np.isfinite(affine).all() or len(shape) != 3:
        return []
    extent = np.linalg.norm(affine[:3, :3], axis=0) * shape
    order = io_orientation(affine)[:, 0]
    if np.isnan(order).any():
        return []
    return [float(extent[int(np.flatnonzero(order == axis)[0])]) for axis in (2, 1, 0)]


def _holds(label: np.ndarray, value: int) -> bool:
    whole = label.dtype.kind in "iub"
    return bool((label == value).any() if whole else (np.abs(label - np.asarray(value, label.dtype)) <= ROUNDING).any())


def _grid(volume: tuple[np.ndarray, np.ndarray]) -> tuple[tuple[int, ...], np.ndarray]:
    return volume[0].shape[1:], volume[1]


def _name(item: dict[str, str]) -> str:
    """Under what a case is remembered."""
    return files_of(item["image"])[0]


def read_volume(path: str, faults: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
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
