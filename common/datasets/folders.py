"""What lies in a folder: what a person put there, and what was left out, by name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from common.datasets.errors import DataError
from common.files import entry_fault

__all__ = ["LeftOut", "entries_near", "entries_of", "folders_in", "is_stray", "named_in"]

logger = logging.getLogger(__name__)

STRAY = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found")  # what systems leave behind
NAMED = 5  # of what was left out, in each line


def is_stray(name: str) -> bool:
    """Whether an entry is hidden, or one that a system left there: ``._a.nii.gz``, ``.DS_Store``, ``Thumbs.db``."""
    return name.startswith(".") or name.lower() in STRAY


def entries_of(folder: str | Path) -> list[Path]:
    """The entries of a folder, sorted, without hidden ones and what systems leave behind.

    Raises:
        DataError: if it is no folder, or may not be read.
    """
    fault = entry_fault(folder)
    if fault or not os.path.isdir(folder):
        raise DataError(f"{folder}: {fault or 'a file, expected a folder'}")
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from None
    return [Path(folder) / name for name in names if not is_stray(name)]


def folders_in(root: Path) -> list[Path]:
    """The entries that are no files: the folders of patients. Links that lead nowhere too, so that they are missed."""
    return [path for path in entries_of(root) if not os.path.isfile(path)]


def entries_near(root: Path) -> list[Path]:
    """The entries of a folder and of the folders in it, sorted; folders that may not be read are named in a warning."""
    found, left_out = entries_of(root), LeftOut()
    for folder in [path for path in found if os.path.isdir(path)]:
        try:
            found += entries_of(folder)
        except DataError as error:
            left_out.add(folder, str(error).removeprefix(f"{folder}: "))
    left_out.tell()
    return sorted(found)


def named_in(folder: Path, name: str) -> Path:
    """The entry of this name, in capitals or not; where there is none, the path where it is expected."""
    try:
        found = [path for path in entries_of(folder) if path.name.lower() == name.lower()]
    except DataError:  # whoever reads the path says why it cannot be
        found = []
    return next((path for path in found if path.name == name), found[0] if found else folder / name)


class LeftOut:
    """What a search passes over: a line for each reason, with the first names and how many more there are."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, int], list[Path]] = {}

    def add(self, path: Path, reason: str, *, level: int = logging.WARNING) -> None:
        """Note an entry, with what it is: ``"a link that leads nowhere"``."""
        self._paths.setdefault((reason, level), []).append(path)

    def tell(self) -> None:
        """Log the lines, and forget."""
        for (reason, level), paths in self._paths.items():
            folder = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
            names = [os.path.relpath(os.path.abspath(path), folder) for path in paths]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            logger.log(level, "%s: left out %d (%s): %s", folder, len(names), reason, ", ".join(names[:NAMED]) + more)
        self._paths.clear()
