"""Layout of a list: a CSV or JSON file that names image and label of each case."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from common.datasets.errors import DataError
from common.datasets.folders import entries_of
from common.datasets.layouts.data_set import DataSet, modality_named
from common.datasets.layouts.dataset_json import described_by
from common.datasets.names import case_of, tell_apart
from common.files import is_file_name

__all__ = ["datalist_data_set", "is_datalist"]

NAMES = ("datalist.csv", "datalist.json")
CASE, LABEL = ("case", "case_id", "id"), "label"
GROUP = ("patient", "group", "patient_id", "subject")
TEST = ("testing", "test")
READ = {"encoding": "utf-8-sig", "errors": "surrogateescape"}
EXPECTED = "columns image (or image_0, image_1, ... or image_FLAIR, image_T1w, ...) and label, perhaps case and patient"


def is_datalist(folder: Path) -> bool:
    """Whether it is a CSV or JSON file, or a folder with one of :data:`NAMES` or one CSV of image and label."""
    return _list_in(folder) is not None


def datalist_data_set(dataset_dir: str | Path) -> DataSet:
    """The cases of a list.

    Args:
        dataset_dir: the file, or the folder that holds it, ``datalist.csv`` or ``datalist.json`` or the only CSV with
            columns of image and label. A CSV has a line for each case; a JSON file is an array of the same as objects,
            whose ``image`` may be an array of files, one for each channel, or an object with them as ``training`` and
            ``testing``, as MONAI's Auto3DSeg has it, perhaps with ``channel_names`` and ``labels`` as in nnU-Net's
            ``dataset.json``. Paths are relative to the file. A case without a label is unlabeled. The case is that of
            the image's name where no column gives it.

    Returns:
        The cases in the list's order; ``channels`` as the columns name them, ``groups`` as ``patient`` or ``group``.

    Raises:
        DataError: for a file that cannot be read, and rows that lack an image; all of them are named.
    """
    path = _list_in(Path(dataset_dir))
    if path is None:
        raise DataError(f"{dataset_dir}: no list of cases; expected {' or '.join(NAMES)} with {EXPECTED}")
    content = _content(path)
    rows = content.pop("training")
    tests = [{**row, LABEL: ""} for row in next((content[key] for key in TEST if key in content), [])]
    channels = _channel_columns([*rows, *tests])
    items, faults = [], []
    for number, row in enumerate([*rows, *tests], start=1):
        try:
            items.append(_item(row, channels, path.parent))
        except ValueError as error:
            faults.append(f"  entry {number}: {error}")
    if faults or not items:
        raise DataError("\n".join([f"{path}: cannot be used as a list of cases; expected {EXPECTED}", *faults]))
    if alike := tell_apart(items):
        raise DataError("\n  ".join([f"{path}: cases cannot be told apart:", *alike]))
    described = described_by(content, path)
    named = [column.removeprefix("image_") for column in channels if column != "image"]
    if not described["channels"] and named and not all(name.isdigit() for name in named):
        described |= {"channels": tuple(named), "modality": modality_named(named)}
    return DataSet(
        "datalist",
        [{key: item[key] for key in ("case", "image", "label")} for item in items if "label" in item],
        **described,
        groups={item["case"]: item["group"] for item in items if "group" in item},
        unlabeled=[{key: item[key] for key in ("case", "image")} for item in items if "label" not in item],
    )


def _list_in(folder: Path) -> Path | None:
    if folder.is_file():
        return folder if folder.suffix.lower() in (".csv", ".json") else None
    if not folder.is_dir():
        return None
    files = [path for path in entries_of(folder) if path.is_file()]
    if named := [path for path in files if path.name.lower() in NAMES]:
        return named[0]
    tables = [path for path in files if path.suffix.lower() == ".csv" and _is_table(path)]
    return tables[0] if len(tables) == 1 else None


def _is_table(path: Path) -> bool:
    try:
        with path.open(newline="", **READ) as file:
            columns = [_column(name) for name in next(csv.reader(file, delimiter=_delimiter(path)), [])]
    except (OSError, ValueError, csv.Error):
        return False
    return LABEL in columns and any(column == "image" or column.startswith("image_") for column in columns)


def _delimiter(path: Path) -> str:
    """Comma, semicolon (Excel's in many languages) or tab, as in the first line."""
    with path.open(**READ) as file:
        first = file.readline()
    return max(",;\t", key=first.count)


def _column(name: str | None) -> str:
    """A column's name, in small letters but for the name of a channel."""
    name = (name or "").strip()
    start, under, channel = name.partition("_")
    return f"image_{channel}" if start.lower() == "image" and under else name.lower()


def _content(path: Path) -> dict[str, Any]:
    """``training`` (rows), and what else the file says."""
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", **READ) as file:
                reader = csv.DictReader(file, delimiter=_delimiter(path))
                rows = [{_column(name): value for name, value in row.items()} for row in reader]
            return {"training": rows}
        content = json.loads(path.read_text(**READ))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a list of cases ({error})") from None
    content = {"training": content} if isinstance(content, list) else content
    if not isinstance(content, dict) or not isinstance(content.get("training"), list):
        raise DataError(f'{path}: expected an array of {{"image", "label"}}, or an object with one as "training"')
    return content


def _channel_columns(rows: list[Any]) -> list[str]:
    """The names of the columns of images: ``image``, or one for each channel."""
    columns = {key: None for row in rows if isinstance(row, dict) for key in row}
    several = [column for column in columns if column.startswith("image_")]
    if all(column.removeprefix("image_").isdigit() for column in several):
        several.sort(key=lambda column: int(column.removeprefix("image_")))
    return several or ["image"]


def _item(row: Any, channels: list[str], folder: Path) -> dict[str, Any]:
    """One case; ``ValueError`` says what is wrong with it."""
    if isinstance(row, str):
        row = {"image": row}
    if not isinstance(row, dict):
        raise ValueError(f"is {json.dumps(row)[:100]}")
    images = row.get("image") if channels == ["image"] else [row.get(column) for column in channels]
    images = images if isinstance(images, list) else [images]
    if not images or not all(isinstance(file, str) and file.strip() for file in images):
        raise ValueError(f"no {' or no '.join(channels)}")
    files = [os.path.join(folder, file.strip()) for file in images]
    image = files[0] if len(files) == 1 else files
    item: dict[str, Any] = {"image": image, "case": case_of(image)}
    if case := _first(row, CASE):
        if not is_file_name(case):
            raise ValueError(f"case {case!r} is no name of a file; expected one without /")
        item |= {"case": case, "given": True}
    if label := _first(row, (LABEL,)):
        item["label"] = os.path.join(folder, label)
    if group := _first(row, GROUP):
        item["group"] = group
    return item


def _first(row: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((text for key in keys if (text := str(row.get(key) if row.get(key) is not None else "").strip())), "")
