"""Tracebacks of faults that are no person's: they go to a file, beside the one line that a person reads."""

from __future__ import annotations

import dis
import traceback
from pathlib import Path

from common.command_line import innermost, is_out_of_memory

__all__ = ["add_trace", "trace_of"]

TOLD = (ValueError, RuntimeError)


def trace_of(error: BaseException) -> str:
    """The traceback of an error that may be a fault of the program; empty where the message says all.

    It says all for an error of the file system, too little memory, and a ``ValueError`` or ``RuntimeError`` that a
    ``raise`` of this package gave its words.
    """
    cause = innermost(error)
    if is_out_of_memory(cause) or isinstance(cause, OSError) or (isinstance(cause, TOLD) and _is_worded_here(cause)):
        return ""
    return "".join(traceback.format_exception(error))


def add_trace(log: Path, text: str) -> bool:
    """Append to a log of tracebacks, made with its folder; False where it cannot be written."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return False
    return True


def _is_worded_here(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this package raised the error, not what it called."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "")
    operation = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return module.split(".")[0] == __name__.split(".")[0] and operation == dis.opmap["RAISE_VARARGS"]
