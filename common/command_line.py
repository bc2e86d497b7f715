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

__all__ = ["describe_error", "innermost", "is_out_of_memory", "one_line", "run_command"]

MEMORY = "out of memory: lower --batch_size, --patch, --roi_size or what else decides how much is computed at once"


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
    error = innermost(error)
    if is_out_of_memory(error):
        return MEMORY
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error).strip()
    if not text:
        return type(error).__name__
    told = isinstance(error, OSError | ValueError | RuntimeError | SystemExit)
    return text if told else f"{type(error).__name__}: {text}"


def innermost(error: BaseException) -> BaseException:
    """The error behind those that MONAI raises from it."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of a GPU."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text)
    )


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
