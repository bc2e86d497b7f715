"""TensorBoard scalars: one file for a run, however many engines and processes it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardStatsHandler

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["ScalarLog"]


class ScalarLog(TensorBoardStatsHandler):
    """MONAI's handler, in the first process only; those of one folder share a file.

    Args:
        log_dir: folder of the file, made if missing.
        kwargs: as for :class:`monai.handlers.TensorBoardStatsHandler`.
    """

    def __init__(self, log_dir: str | Path, **kwargs: Any) -> None:
        if idist.get_rank() == 0:
            super().__init__(summary_writer=_writer(str(log_dir)), **kwargs)

    def attach(self, engine: Engine) -> None:
        """Write iterations and epochs as MONAI's handler does, and what is written to the disk when the engine ends."""
        if idist.get_rank() == 0:
            super().attach(engine)
            engine.add_event_handler(Events.COMPLETED, self._writer.flush)


def _writer(log_dir: str) -> SummaryWriter:
    """The folder's writer; another one where its file was deleted, as before a further training in the same process."""
    if log_dir not in _writers or not list(Path(log_dir).glob("events.out.tfevents.*")):
        from torch.utils.tensorboard import SummaryWriter

        _writers[log_dir] = SummaryWriter(log_dir)
    return _writers[log_dir]


_writers: dict[str, SummaryWriter] = {}
