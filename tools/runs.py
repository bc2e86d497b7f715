"""Folders of runs: which one belongs to which data, and who may train in it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECORD = ".dataset_dir"  # in a run's folder: the absolute path of the data that it is about
LOCK = ".training"  # in a run's folder: locked by the training that runs there, with the number of its process
STATES = "*_epoch=*.pt"  # what a training can be resumed from: model_epoch=3.pt, locator_epoch=3.pt


def run_folder(home: Path, data: list[Path], *, name: str, suffix: str = "") -> Path:
    """The folder in `home` for runs on some data: NAME, or PARENT_NAME where other data of that name came first.

    Data is told apart by what :func:`record_data` noted, so the same data always gets the same folder.

    Args:
        home: folder of a bundle's runs.
        data: absolute path of the data, or several.
        name: of the folder.
        suffix: put behind the name.
    """
    names = [os.fsencode(name).decode(errors="replace")]  # some libraries write to names that are UTF-8 alone
    if len(data) == 1:
        for parent in data[0].parents:
            if parent.name and len(names[-1]) < 150:
                names.append(f"{os.fsencode(parent.name).decode(errors='replace')}_{names[-1]}")
    folders = [home / f"{candidate}{suffix}" for candidate in [*names, *(f"{names[0]}_{n}" for n in range(2, 1000))]]
    owners = [owner(folder) for folder in folders]
    wanted = record_of(data) if record_of(data) in owners else None
    return folders[owners.index(wanted)]


def record_data(folder: Path, data: list[Path]) -> None:
    """Note in a run's folder, which exists, which data it is about; what is noted there already stays."""
    try:
        with (folder / RECORD).open("xb") as file:
            file.write(record_of(data))
    except FileExistsError:
        pass


def training_states(models: Path, *, since: float = 0.0) -> list[Path]:
    """The training states in a folder of weights that were written after a point in time, oldest first."""
    states = [path for path in models.glob(STATES) if not path.name.startswith(".")]
    return sorted((path for path in states if path.stat().st_mtime >= since), key=lambda path: path.stat().st_mtime)


@contextmanager
def only_training(folder: Path, *, patience: float = 7.0) -> Iterator[int]:
    """Hold a run's folder, so that no second training starts there; a process that ends lets go of it, however it ends.

    Args:
        folder: of the run; it exists.
        patience: seconds to wait for the last processes of a training that was killed.

    Yields:
        A file descriptor: a stage's process that inherits it holds the folder too.

    Raises:
        RuntimeError: if a training runs there, with its process.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        end = time.monotonic() + patience
        while not _locked(lock):
            if time.monotonic() >= end:
                process = os.pread(lock, 100, 0).decode().strip()
                raise RuntimeError(
                    f"{folder}: a training is running there (process {process}); wait for its end, or give this one "
                    "a folder of its own with RUN="
                )
            time.sleep(0.2)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def record_of(data: list[Path]) -> bytes:
    """What a run's folder notes of its data."""
    return b"\n".join(os.fsencode(path.resolve()) for path in data)


def owner(folder: Path) -> bytes | None:
    """The data that a run's folder is about; None where it is free."""
    record = folder / RECORD
    return record.read_bytes() if record.is_file() else None
