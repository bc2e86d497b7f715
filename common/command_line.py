"""Commands for a person: what is wrong is one line and an exit code, never a trace or a page of help."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import fire
from fire.decorators import SetParseFn
from fire.parser import DefaultParseValue

from common.arguments import check_words

__all__ = [
    "describe_error",
    "innermost",
    "is_out_of_memory",
    "memory_advice",
    "one_line",
    "run_command",
    "save_memory_with",
    "without_remark",
]

REMARK = "ignore:parsing config_file"  # for PYTHONWARNINGS: how MONAI's remark on eval() begins

NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "status_alloc_failed",
)
NO_SHARED_MEMORY = ("bus error", "</torch_", "shared memory", "shm")
WORKER_KILLED = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)")
FROM_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n")

_knobs: list[str] = []  # of the config that runs


def run_command(commands: Callable | Mapping[str, Callable], *, name: str) -> None:
    """Call the function that the command line names, with its arguments.

    An argument whose type is ``str``, or that has none, arrives as it was typed; a ``Path`` likewise, but for ``~/``,
    the home folder; others as Fire reads them.

    Exits with 2 for arguments that do not fit the function, 1 for whatever the function raises, 130 for Ctrl-C, each
    with one line on stderr.

    Args:
        commands: a function, or several by name.
        name: of the program, as its help calls it.
    """
    calls: list[Callable[[], Any]] = []

    def recorded(function: Callable) -> Callable:
        @SetParseFn(str)
        @functools.wraps(function)
        def record(*arguments: Any, **options: Any) -> None:
            bound = inspect.signature(function).bind(*arguments, **options)
            hints = get_type_hints(function)
            for key, text in bound.arguments.items():
                bound.arguments[key] = _read(key, text, hints.get(key, object))
            calls.append(functools.partial(function, *bound.args, **bound.kwargs))

        return record

    named = isinstance(commands, Mapping)
    components = {key: recorded(function) for key, function in commands.items()} if named else recorded(commands)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            fire.Fire(components, command=_checked(sys.argv[1:]), name=name)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except fire.core.FireExit as end:
        sys.stderr.write(said.getvalue() if not end.code else f"{_usage(end, name)}\n")
        sys.exit(end.code)
    for stream in (sys.stdout, sys.stderr):  # names of files that are no UTF-8 can be printed too
        stream.reconfigure(errors="backslashreplace")
    try:
        for call in calls:
            call()
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        sys.exit(130)
    except SystemExit as end:
        if not isinstance(end.code, str):
            raise
        sys.exit(one_line(end))
    except Exception as error:
        sys.exit(one_line(error))


def one_line(error: BaseException) -> str:
    """What :func:`describe_error` says, in one line."""
    return re.sub(r"\s*\n\s*", " ", describe_error(error))


def describe_error(error: BaseException) -> str:
    """What an error says; where the message is no sentence of its own, with the kind of error.

    Args:
        error: of those that MONAI raises about a config item or a transform, the reason alone counts.
    """
    place = _place(error)
    error = innermost(error)
    if lack := _lack(error):
        return lack
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error).strip()
    if FROM_WORKER.match(text):
        return _reason_in_worker(text)
    if not text:
        return type(error).__name__
    told = isinstance(error, OSError | ValueError | RuntimeError | SystemExit)
    return text if told else f"{type(error).__name__}: {text}{place}"


def innermost(error: BaseException) -> BaseException:
    """The error behind those that MONAI raises from it."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None and not WORKER_KILLED.search(str(error)):
        error = error.__cause__
    return error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of a GPU."""
    text = str(error).lower()
    named = isinstance(error, RuntimeError | OSError) and any(part in text for part in NO_MEMORY)
    return isinstance(error, MemoryError) or named


def save_memory_with(knobs: Sequence[str]) -> None:
    """Say which knobs of the config that runs need less memory: errors name them from here on.

    Args:
        knobs: names of those to lower, and settings such as ``"low_memory True"``.
    """
    _knobs[:] = knobs


def memory_advice(knobs: Sequence[str]) -> str:
    """What to do where memory is short, for the knobs of :func:`save_memory_with`.

    Example:
        >>> memory_advice(["roi_size", "num_workers", "low_memory True"])
        'lower --roi_size or --num_workers, or set --low_memory True'
    """
    lowered = [f"--{knob}" for knob in knobs if " " not in knob]
    changed = [f"--{knob}" for knob in knobs if " " in knob]
    advice = [f"lower {_either(lowered)}"] if lowered else []
    advice += [f"set {_either(changed)}"] if changed else []
    return ", or ".join(advice) or "lower what decides how much is computed at once"


def without_remark(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command that does not print MONAI's remark on ``eval()``; other warnings are printed.

    MONAI prints it at each start, before anything of the bundle is loaded.

    Args:
        environment: such as ``os.environ``. What its ``PYTHONWARNINGS`` says stays.
    """
    asked = environment.get("PYTHONWARNINGS")
    return {**environment, "PYTHONWARNINGS": f"{asked},{REMARK}" if asked else REMARK}


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _lack(error: BaseException) -> str:
    """What to do about too little memory, of any kind; empty for other errors."""
    text = str(error).lower()
    dead = WORKER_KILLED.search(str(error))
    if isinstance(error, RuntimeError | OSError) and (dead or "torch_" in text):
        if any(part in text for part in NO_SHARED_MEMORY):
            return (
                "too little shared memory (/dev/shm) for the processes that load data: lower --num_workers (0 needs "
                "none), or enlarge it (docker run --shm-size=8g)"
            )
        if dead:
            return (
                "out of memory: a process that loads data was ended, most often for want of memory; lower "
                "--num_workers (0 loads without further processes)"
            )
    return f"out of memory: {memory_advice(_knobs)}" if is_out_of_memory(error) else ""


def _place(error: BaseException) -> str:
    """Where in a config an error was raised, as MONAI's errors around it say; empty where they do not."""
    place = ""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        found = re.match(r"Failed to instantiate component '([^']+)'", str(error))
        place = f" (in {found[1]})" if found else place
        found = re.match(r"Failed to evaluate ConfigExpression:\s*(.*)", str(error), re.DOTALL)
        place = f" (in the config's {found[1].strip()})" if found else place
        error = error.__cause__
    return place


def _reason_in_worker(text: str) -> str:
    """The innermost error in the traceback that a worker of a DataLoader sends."""
    first = re.split(r"\n\n(?:The above exception|During handling)", text)[0]
    *_, frames = re.split(r"^Traceback \(most recent call last\):$", first, flags=re.MULTILINE)
    reason = re.search(r"^(?:\w+\.)*(\w+): (.*)", frames, flags=re.MULTILINE | re.DOTALL)
    if reason is None:
        return text.splitlines()[-1]
    kind, said = reason[1], reason[2].strip()
    return said if kind in ("OSError", "ValueError", "RuntimeError", "DataError") else f"{kind}: {said}"


def _checked(arguments: Sequence[str]) -> list[str]:
    """The command line as Fire is to read it; raises ValueError for what Fire would pass over without a word."""
    if {"--help", "-h"} & set(arguments):
        return [*(word for word in arguments[:1] if not word.startswith("-")), "--", "--help"]
    check_words(arguments)
    return list(arguments)


def _read(name: str, text: Any, hint: Any) -> Any:
    """An argument's value; raises ValueError for text that is not of its type."""
    kinds = set(get_args(hint) if isinstance(hint, UnionType) else (hint,)) - {NoneType}
    if not isinstance(text, str) or kinds <= {str, object}:
        return text
    if kinds == {Path}:
        if not text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
            raise ValueError(f"--{name}={text!r}: no path; name a file or a folder")
        return Path(os.path.expanduser(text))
    value = DefaultParseValue(text)
    for kind, expected in {bool: "True or False (capitalized)", int: "a whole number"}.items():
        if kinds == {kind} and type(value) is not kind and not (value is None and hint is not kind):
            raise ValueError(f"--{name} must be {expected}, got {text!r}")
    return value


def _usage(end: fire.core.FireExit, name: str) -> str:
    reason = end.trace.elements[-1].ErrorAsStr()
    stray = re.fullmatch(r"Could not consume arg: (.*)", reason, re.DOTALL)
    if stray is None:
        return f"{name}: {reason}"
    if stray[1].startswith("-"):
        return f"{stray[1]}: no such argument; `python -m {name} --help` lists them"
    return f'{stray[1]}: belongs to no argument; write --name value, with dashes (ARGS="--epochs 2")'
