"""The cases that could not be done: a bad case does not end a cohort, and is not forgotten either."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from common.files import whole_file
from common.handlers.reporting import gather_rows

__all__ = ["FailureLog"]

logger = logging.getLogger(__name__)


class FailureLog:
    """Collect failed cases; when the engine completes, write those of all processes to ``failures.json``.

    The file is a list of ``{"case", "path", "reason"}``, empty where all went well.

    Args:
        output_dir: folder of ``failures.json``, made if missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / "failures.json"
        self._failures: list[dict[str, str]] = []

    @property
    def count(self) -> int:
        """How many cases failed: in this process, and after :meth:`write` in all."""
        return len(self._failures)

    def attach(self, engine: Engine) -> None:
        """Start afresh with every run of ``engine``, and write at its end."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def _start(self) -> None:
        self._failures.clear()

    def record(self, case: str, path: str | Path, reason: str) -> None:
        """Remember a failed case: its name, the file at fault and what is wrong, in one line."""
        self._failures.append({"case": case, "path": str(path), "reason": reason})
        logger.error("%s failed: %s (%s)", case, reason, path)

    def write(self) -> None:
        """Write the failures of all processes; each of them must call it."""
        self._failures[:] = gather_rows(self._failures, "case", "path", "reason")
        if idist.get_rank() == 0:
            with whole_file(self.path) as file:
                file.write_text(json.dumps(self._failures, indent=1) + "\n")

    def exit(self) -> None:
        """End the process with exit code 1 if any case failed: the last step of a run.

        It ends the processes of a job together, when the first has written.
        """
        if self.count:
            if idist.get_rank() == 0:
                logger.error("%d failed, listed in %s", self.count, self.path)
            idist.barrier()
            sys.exit(1)
