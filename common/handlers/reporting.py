"""What the reports have in common: each stands alone, and has the rows of all processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine

from common.command_line import one_line
from common.traces import add_trace, trace_of

__all__ = ["gather_rows", "report_alone", "say_unwritten"]

logger = logging.getLogger(__name__)


@contextmanager
def report_alone(engine: Engine, path: str | Path) -> Iterator[None]:
    """Where one report is written: an error costs this report only, and is said in one line, once for each path.

    Of a :class:`common.engines.FaultTolerantEvaluator` it also ends the run with an error after its last case. A
    training goes on and ends as ever: its weights do not depend on a picture. The traceback of a programming error goes
    to ``failures.log``, or to ``log.txt`` in the report's folder.

    Args:
        engine: whose handler writes.
        path: of the report; text for one that is no file, whose tracebacks go nowhere.
    """
    failures = getattr(engine, "failures", None)
    if failures is not None:
        with failures.report(path):
            yield
        return
    try:
        yield
    except Exception as error:
        said = vars(engine).setdefault("unwritten", set())
        if str(path) not in said:
            said.add(str(path))
            say_unwritten(path, error, log=path.parent / "log.txt" if isinstance(path, Path) else None)


def say_unwritten(path: str | Path, error: Exception, *, log: Path | None) -> None:
    """One line for a person about a report that could not be written; ``log`` gets the traceback, if it is of use."""
    trace = trace_of(error)
    of_this = isinstance(error, OSError) and error.strerror and error.filename in (None, str(path))
    reason = error.strerror if of_this else one_line(error)
    told = f"; traceback: {log}" if trace and log is not None and add_trace(log, f"{path}\n{trace}\n") else ""
    logger.error("%s: cannot be written (%s)%s", path, reason, told)


def gather_rows(rows: list[dict[str, Any]], *identity: str) -> list[dict[str, Any]]:
    """The rows of all processes, sorted by the first of ``identity``.

    Rows equal in all of ``identity`` count once: samplers repeat cases to give every process as many.

    Every process must call it.
    """
    everywhere = chain.from_iterable(idist.all_gather(rows))
    unique = {tuple(str(row[key]) for key in identity): row for row in everywhere}
    return [unique[key] for key in sorted(unique, key=lambda key: key[0])]
