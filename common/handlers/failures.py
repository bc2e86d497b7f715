"""The cases that could not be done: a bad case does not end a cohort, and is not forgotten either."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from common.files import check_writable, whole_file
from common.handlers.reporting import gather_rows, say_unwritten
from common.traces import add_trace

__all__ = ["CasesFailed", "FailureLog"]

logger = logging.getLogger(__name__)

Failure = dict[str, str]


class CasesFailed(RuntimeError):
    """Cases of a cohort could not be done; each has been named before, so the message is all there is to say."""

    says_all = True


class FailureLog:
    """Collect failed cases in ``failures.json``: those of all processes, however the run ends.

    The file is a list of ``{"case", "path", "reason"}``, empty where all went well. It is there from the start of a
    run, and each failure is added as it happens. ``failures.log`` beside it has the tracebacks of programming errors.

    Args:
        output_dir: folder of ``failures.json``, made if missing.

    Raises:
        OSError: as a run starts, where nothing can be written in ``output_dir``.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / "failures.json"
        self.log = self.path.with_suffix(".log")
        self._failures: list[Failure] = []
        self._reports: list[str] = []  # that could not be written
        self._cases = 0  # that were tried
        self._said: list[str] = []  # of which a line was printed

    @property
    def count(self) -> int:
        """How many cases failed: in this process, and after :meth:`write` in all."""
        return len(self._failures)

    def attach(self, engine: Engine) -> None:
        """Start afresh with every run of ``engine``, and write at its end."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def _start(self) -> None:
        for collected in (self._failures, self._reports, self._said):
            collected.clear()
        self._cases = 0
        if idist.get_rank() == 0:
            check_writable(self.path.parent)
            with self.report(self.path):
                self._write_file([])
                self.log.unlink(missing_ok=True)
            self._reports.clear()  # whether it can be written at the end is what counts
        idist.barrier()

    def _count(self) -> None:
        self._cases += 1

    def record(self, case: str, path: str | Path, reason: str, trace: str = "") -> None:
        """Remember a failed case: its name, the file at fault and what is wrong, in one line.

        A ``trace``, of an error that is no fault of the data, is added to ``failures.log``.
        """
        if trace:
            add_trace(self.log, f"{case} ({path})\n{trace}\n")
        failure = {"case": case, "path": str(path), "reason": reason}
        self._failures.append(failure)
        logger.error("%s failed: %s (%s)", case, reason, path)
        with contextlib.suppress(Exception):  # the end of the run says so
            if idist.get_world_size() == 1:
                self._write_file(self._failures)
            else:
                with _alone(self.path.parent):
                    self._write_file([*self._stored(), failure])

    @contextlib.contextmanager
    def report(self, path: str | Path) -> Iterator[None]:
        """Write one report, which stands alone: an error is said in one line, and :meth:`exit` ends the run with it."""
        try:
            yield
        except Exception as error:
            self._reports.append(str(path))
            if str(path) not in self._said:
                self._said.append(str(path))
                say_unwritten(path, error, log=self.log)

    def write(self) -> None:
        """Write the failures of all processes; each of them must call it."""
        self._failures[:] = gather_rows(self._failures, "case", "path", "reason")
        if idist.get_rank() == 0:
            with self.report(self.path):
                self._write_file(self._failures)

    def _stored(self) -> list[Failure]:
        try:
            return json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return []

    def _write_file(self, failures: list[Failure]) -> None:
        with whole_file(self.path) as file:
            file.write_text(json.dumps(failures, indent=1) + "\n")

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


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process of the job is in here; a file system without locks does without."""
    import fcntl  # not on every system

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
