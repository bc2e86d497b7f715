"""A run that was started on the command line: what a person sees of it. Other programs see exceptions."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

import ignite.distributed as idist

from common.arguments import check_arguments
from common.command_line import describe_error, innermost, one_line, save_memory_with
from common.datasets.errors import DataError
from common.files import printable, usable_path
from common.traces import add_trace

__all__ = ["start_command"]

LOG = "log.txt"
PATIENCE = 30.0  # s
_interrupted_at = float("-inf")  # when, by the monotonic clock
PROGRAMS = ("monai.bundle.__main__", "monai.bundle")
# Ignite and MONAI say these at every run, or before an error that is reported here.
NOT_SHOWN = {
    "ignite.engine.engine": (
        "Engine run resuming from iteration 0, epoch ",
        "Engine run is terminating due to exception",
        "Current run is terminating due to exception",
    )
}


def start_command(
    output_dir: str | Path,
    *,
    memory_knobs: Sequence[str] = (),
    several: Sequence[str] = (),
    **paths: object,
) -> None:
    """Let errors of this run end it with one line on stderr and exit code 1; the traceback goes to ``log.txt``.

    Only where Python runs ``python -m monai.bundle``: in any other program exceptions stay what they are.

    Args:
        output_dir: folder of ``log.txt``, made when there is something to write.
        memory_knobs: what needs less memory, for :func:`common.command_line.save_memory_with`.
        several: those of the knobs that may be lists of paths.
        paths: knobs that are paths, or None; all but ``dataset_dir`` are folders.

    Raises:
        ValueError: for an argument that the config has no id for, for a path that the command line or the config
            parser has changed, for a file in place of a folder, and for a ``bundle_root`` that is not there.
    """
    is_command = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) in PROGRAMS
    if is_command:
        for stream in (sys.stdout, sys.stderr):  # names of files that are no UTF-8 can be printed too
            stream.reconfigure(errors="backslashreplace")
        sys.excepthook = functools.partial(_report, log=None)  # until it is known where the log may be
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt_once)
        check_arguments(sys.argv[1:])
    for knob, value in {"output_dir": output_dir, **paths}.items():
        if value is not None or knob == "output_dir":
            usable_path(value, knob, several=knob in several)
    if is_command:
        _check_folders({"output_dir": output_dir, **paths})
        sys.excepthook = functools.partial(_report, log=Path(output_dir) / LOG)
        logging.raiseExceptions = False  # a line that cannot be written, to a full disk say, is no traceback instead
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_shown)
        save_memory_with(memory_knobs)


def _check_folders(paths: Mapping[str, object]) -> None:
    for knob, value in paths.items():
        if knob in ("dataset_dir", "output_dir") or not isinstance(value, str | Path):  # each has its own check
            continue
        if Path(value).exists() and not Path(value).is_dir():
            raise ValueError(f"{knob}={value}: is a file, expected a folder")
        if knob == "bundle_root" and not Path(value).is_dir():
            raise ValueError(f"{knob}={value}: no such folder; expected that of the bundle, which holds configs/")


def _interrupt_once(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; what arrives while the run ends (a terminal's signal, and make's) is the same one."""
    global _interrupted_at
    if time.monotonic() - _interrupted_at > PATIENCE:
        _interrupted_at = time.monotonic()
        raise KeyboardInterrupt


def _end_by_interrupt() -> None:
    """End as Python does, by the signal itself, but before threads that still compute are torn down with it."""
    for process in multiprocessing.active_children():
        process.terminate()
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _is_shown(record: logging.LogRecord) -> bool:
    starts = next((texts for name, texts in NOT_SHOWN.items() if record.name.startswith(name)), ())
    return not record.getMessage().startswith(starts or ("\0",))


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None, *, log: Path | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        _end_by_interrupt()
    everywhere = getattr(innermost(error), "in_all_processes", False)
    if everywhere and idist.get_rank() > 0:  # the first process says it
        idist.barrier()
        return
    lists_files = isinstance(innermost(error), DataError)
    text = describe_error(error) if lists_files else one_line(error)
    says_all = getattr(innermost(error), "says_all", False)  # no traceback would help
    trace = (
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sys.argv}\n{''.join(traceback.format_exception(kind, error, trace))}"
    )
    if not says_all and log is not None and add_trace(log, trace):
        text += f"\n(traceback: {log})" if "\n" in text else f" (traceback: {log})"
    print(printable(text), file=sys.stderr, flush=True)
    if everywhere:
        idist.barrier()
