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
import torch

__all__ = ["describe_error", "is_out_of_memory", "start_command"]

LOG = "log.txt"
PROGRAMS = ("monai.bundle.__main__", "monai.bundle")
MEMORY = "out of memory: lower --batch_size, --patch, --roi_size or what else decides how much is computed at once"
# Ignite and MONAI say these at every run, or before an error that is reported here.
NOT_SHOWN = {
    "ignite.engine.engine": (
        "Engine run resuming from iteration 0, epoch 0",
        "Engine run is terminating due to exception",
        "Current run is terminating due to exception",
    )
}


def start_command(output_dir: str | Path) -> None:
    """Let errors of this run end it with one line on stderr and exit code 1; the traceback goes to ``log.txt``.

    Only where Python runs ``python -m monai.bundle``: in any other program exceptions stay what they are.

    Args:
        output_dir: folder of ``log.txt``, made when there is something to write.
    """
    if getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) not in PROGRAMS:
        return
    sys.excepthook = functools.partial(_report, log=Path(output_dir) / LOG)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_shown)


def describe_error(error: BaseException) -> str:
    """The innermost cause of an error, which MONAI wraps in others that name a transform or a config item.

    An error whose text is made for a person (ValueError, OSError, RuntimeError of this package) is its text; of another
    kind, the kind goes before it.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    if is_out_of_memory(error):
        return MEMORY
    text = str(error).strip()
    if isinstance(error, ValueError | FileNotFoundError | FileExistsError) and text:
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if getattr(error, "says_all", False):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of a GPU."""
    text = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text)
    )


def _is_shown(record: logging.LogRecord) -> bool:
    starts = next((texts for name, texts in NOT_SHOWN.items() if record.name.startswith(name)), ())
    return not record.getMessage().startswith(starts or ("\0",))


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None, *, log: Path) -> None:
    if isinstance(error, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        return
    everywhere = _in_all_processes(error)
    if everywhere and idist.get_rank() > 0:  # the first process says it
        idist.barrier()
        return
    text = describe_error(error)
    if not getattr(error, "says_all", False):
        text += _logged(kind, error, trace, log)
    print(text.encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
    if everywhere:
        idist.barrier()


def _logged(kind: type[BaseException], error: BaseException, trace: TracebackType | None, log: Path) -> str:
    """Add the traceback to ``log``; the words that say so, none where there is no place for it."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sys.argv}\n")
            file.writelines(traceback.format_exception(kind, error, trace))
    except OSError:
        return ""
    return f"\n(traceback: {log})" if "\n" in describe_error(error) else f" (traceback: {log})"


def _in_all_processes(error: BaseException) -> bool:
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "in_all_processes", False)
