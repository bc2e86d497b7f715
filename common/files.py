"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["files_of", "remove_leftovers", "whole_file"]


def files_of(volume: str | Path | Sequence[str | Path]) -> list[str]:
    """The paths of a volume: one file, a folder (DICOM series), or a list of files, one for each channel."""
    return [str(volume)] if isinstance(volume, str | Path) else [str(file) for file in volume]


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name to write to, renamed to ``path`` at the end and removed on error; makes the folder.

    Whatever interrupts the writing, ``path`` is the old file or the new one, never a part. The name is hidden, in the
    same folder, ends as ``path`` does (writers choose a format by it), and differs between processes and threads. The
    bytes are on the disk before the file has its name, so that a power failure leaves no hollow file either.

    Args:
        path: the file to be.

    Example:
        >>> with whole_file(folder / "fit.json") as file:
        ...     file.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial{os.getpid()}_{threading.get_ident()}_{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path, names: str) -> None:
    """Remove what killed processes left half written; only while nothing else writes these files.

    Args:
        folder: that of the files.
        names: their names as a pattern, such as ``"model_epoch=*.pt"``.
    """
    for partial in Path(folder).glob(f".partial*_{names}"):
        partial.unlink(missing_ok=True)
