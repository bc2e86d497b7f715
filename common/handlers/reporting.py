"""What the reports have in common: rows of all processes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine

__all__ = ["gather_rows", "report_alone"]


def report_alone(engine: Engine, path: str | Path) -> AbstractContextManager:
    """Where one report is written: of a cohort's evaluator, an error costs this report only and ends the run with 1."""
    failures = getattr(engine, "failures", None)
    return nullcontext() if failures is None else failures.report(path)


def gather_rows(rows: list[dict[str, Any]], *identity: str) -> list[dict[str, Any]]:
    """The rows of all processes, sorted by the first of ``identity``.

    Rows equal in all of ``identity`` count once: samplers repeat cases to give every process as many.

    Every process must call it.
    """
    everywhere = chain.from_iterable(idist.all_gather(rows))
    unique = {tuple(str(row[key]) for key in identity): row for row in everywhere}
    return [unique[key] for key in sorted(unique, key=lambda key: key[0])]
