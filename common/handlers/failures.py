"""The cases that could not be done: a bad case does not end a cohort, and is not forgotten either."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from common.files import whole_file
from common.handlers.reporting import gather_rows

__all__ = ["CasesFailed", "FailureLog"]

logger = logging.getLogger(__name__)


class CasesFailed(RuntimeError):
    """Cases of a cohort could not be done; each has been named before, so the message is all there is to say."""

    says_all = True


class FailureLog:
    """Collect failed cases; when the engine completes, write those of all processes to ``failures.json``.

    The file is a list of ``{"case", "path", "reason"}``, empty where all went well.

    Args:
        output_dir: folder of ``failures.json``, made if missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / "failures.json"
        self.log = self.path.with_suffix(".log")
        self._failures: list[dict[str, str]] = []
        self._reports: list[str] = []  # that could not be written
        self._cases = 0  # that were tried

    @property
    def count(self) -> int:
        """How many cases failed: in this process, and after :meth:`write` in all."""
        return len(self._failures)

    def attach(self, engine: Engine) -> None:
        """Start afresh with every run of ``engine``, and write at its end."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._interrupted)

    def _start(self) -> None:
        self._failures.clear()
        self._reports.clear()
        self._cases = 0

    def _count(self) -> None:
        self._cases += 1

    def _interrupted(self, error: BaseException) -> None:
        """Write what this process knows: the others may never come."""
        with contextlib.suppress(OSError):
            if idist.get_rank() == 0:
                self._write_file()
        raise error

    def record(self, case: str, path: str | Path, reason: str, trace: str = "") -> None:
        """Remember a failed case: its name, the file at fault and what is wrong, in one line.

        A ``trace``, of an error that is no fault of the data, is added to ``failures.log``.
        """
        if trace:
            with contextlib.suppress(OSError):
                self.log.parent.mkdir(parents=True, exist_ok=True)
                with self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(f"{case} ({path})\n{trace}\n")
        self._failures.append({"case": case, "path": str(path), "reason": reason})
        logger.error("%s failed: %s (%s)", case, reason, path)

    @contextlib.contextmanager
    def report(self, path: str | Path) -> Iterator[None]:
        """Write one report, which stands alone: an error is said in one line, and :meth:`exit` ends the run with it."""
        try:
            yield
        except Exception as error:
            self._reports.append(str(path))
            logger.error("%s: cannot be written (%s)", path, error)

    def write(self) -> None:
        """Write the failures of all processes; each of them must call it."""
        self._failures[:] = gather_rows(self._failures, "case", "path", "reason")
        if idist.get_rank() == 0:
            with self.report(self.path):
                self._write_file()

    def _write_file(self) -> None:
        with whole_file(self.path) as file:
            file.write_text(json.dumps(self._failures, indent=1) + "\n")

    def exit(self) -> None:
        """The last step of a run, in every process of a job.

        Raises:
            CasesFailed: if any case failed, or a report could not be written.
        """
        alone = idist.get_world_size() == 1
        reports = self._reports if alone else list(chain.from_iterable(idist.all_gather(self._reports)))
        cases = self._cases if alone else sum(chain.from_iterable(idist.all_gather([self._cases])))
        of = f"of {cases} " if cases else ""
        faults = [f"{self.count} {of}{'case' if max(self.count, cases) == 1 else 'cases'} failed"] if self.count else []
        if self.count and str(self.path) not in reports:
            faults[0] += f", listed in {self.path}"
        if reports:
            faults.append(f"not written: {', '.join(dict.fromkeys(reports))}")
        if faults:
            error = CasesFailed("; ".join(faults))
            error.in_all_processes = not alone
            raise error
