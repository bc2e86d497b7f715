"""What the reports have in common: rows of all processes, files that are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import ignite.distributed as idist

__all__ = ["gather_rows", "whole_file"]


def gather_rows(rows: list[dict[str, Any]], *identity: str) -> list[dict[str, Any]]:
    """The rows of all processes, sorted by the first of ``identity``.

    Rows equal in all of ``identity`` count once: samplers repeat cases to give every process as many.

    Every process must call it.
    """
    everywhere = chain.from_iterable(idist.all_gather(rows))
    unique = {tuple(str(row[key]) for key in identity): row for row in everywhere}
    return [unique[key] for key in sorted(unique, key=lambda key: key[0])]


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name to write to, renamed to ``path`` at the end and removed on error; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial{os.getpid()}_{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
