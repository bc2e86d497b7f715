"""TensorBoard scalars: one file for a run, however many engines and processes it has."""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardStatsHandler

from common.handlers.reporting import report_alone

__all__ = ["ScalarLog"]

NAME = "events.out.tfevents"  # with which TensorBoard's files begin


class ScalarLog(TensorBoardStatsHandler):
    """MONAI's handler, in the first process only; those of one folder share a file.

    Args:
        log_dir: folder of the file; both are made with the first scalar.
        kwargs: as for :class:`monai.handlers.TensorBoardStatsHandler`.
    """

    def __init__(self, log_dir: str | Path, **kwargs: Any) -> None:
        super().__init__(summary_writer=_files.setdefault(str(log_dir), _ScalarFile(Path(log_dir))), **kwargs)

    def attach(self, engine: Engine) -> None:
        """Write iterations and epochs as MONAI's handler does."""
        if idist.get_rank() == 0:
            super().attach(engine)
            engine.add_event_handler(Events.COMPLETED, self._writer.flush)

    def iteration_completed(self, engine: Engine) -> None:
        """Write the iteration's scalars, if they can be written."""
        with report_alone(engine, self._writer.folder / NAME):
            super().iteration_completed(engine)

    def epoch_completed(self, engine: Engine) -> None:
        """Write the epoch's scalars, if they can be written."""
        with report_alone(engine, self._writer.folder / NAME):
            super().epoch_completed(engine)


class _ScalarFile:
    """What the handler needs of torch's ``SummaryWriter``, whose thread prints a traceback where it cannot write.

    What was written is on its way to the disk at once. A record that fails is taken back, and the next one is tried.

    Args:
        folder: of the file; another file is begun where it was deleted, as before a further training.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Write a scalar of this step."""
        from torch.utils.tensorboard.summary import scalar

        if not self.path.is_file():
            self._begin()
        self._add(summary=scalar(tag, value), step=step)

    def flush(self) -> None:
        """Nothing is held back."""

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{NAME}.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = self.folder / name
        self._add(file_version="brain.Event:2")

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                RecordWriter(file).write(Event(wall_time=time.time(), **content).SerializeToString())
            except OSError:
                file.truncate(size)
                raise


_numbers = itertools.count()
_files: dict[str, _ScalarFile] = {}
