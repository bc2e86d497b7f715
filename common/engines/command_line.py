"""A run that was started on the command line: what a person sees of it. Other programs see exceptions."""

from __future__ import annotations

import functools
import logging
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType

import ignite.distributed as idist

from common.arguments import check_arguments
from common.command_line import describe_error, innermost
from common.files import usable_path

__all__ = ["start_command"]

LOG = "log.txt"
PROGRAMS = ("monai.bundle.__main__", "monai.bundle")
# Ignite and MONAI say these at every run, or before an error that is reported here.
NOT_SHOWN = {
    "ignite.engine.engine": (
        "Engine run resuming from iteration 0, epoch ",
        "Engine run is terminating due to exception",
        "Current run is terminating due to exception",
    )
}


def start_command(output_dir: str | Path, **paths: object) -> None:
    """Let errors of this run end it with one line on stderr and exit code 1; the traceback goes to ``log.txt``.

    Only where Python runs ``python -m monai.bundle``: in any other program exceptions stay what they are.

    Args:
        output_dir: folder of ``log.txt``, made when there is something to write.
        paths: knobs that are paths, lists of paths, or None.

    Raises:
        ValueError: for a path that the command line or the config parser has changed, and for arguments of the command
            that MONAI would pass over.
    """
    is_command = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) in PROGRAMS
    if is_command:
        sys.excepthook = functools.partial(_report, log=None)  # until it is known where the log may be
        check_arguments(sys.argv[1:])
    for knob, value in {"output_dir": output_dir, **paths}.items():
        if value is not None or knob == "output_dir":
            usable_path(value, knob, several=isinstance(value, list | tuple))
    if is_command:
        sys.excepthook = functools.partial(_report, log=Path(output_dir) / LOG)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    starts = next((texts for name, texts in NOT_SHOWN.items() if record.name.startswith(name)), ())
    return not record.getMessage().startswith(starts or ("\0",))


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None, *, log: Path | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        return
    everywhere = getattr(innermost(error), "in_all_processes", False)
    if everywhere and idist.get_rank() > 0:  # the first process says it
        idist.barrier()
        return
    text = describe_error(error)
    says_all = getattr(innermost(error), "says_all", False)  # no traceback would help
    if not says_all and log is not None and _write(log, "".join(traceback.format_exception(kind, error, trace))):
        text += f"\n(traceback: {log})" if "\n" in text else f" (traceback: {log})"
    print(text.encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
    if everywhere:
        idist.barrier()


def _write(log: Path, trace: str) -> bool:
    """Whether there was a place for the traceback; without one the reason alone must do."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sys.argv}\n{trace}")
    except OSError:
        return False
    return True
