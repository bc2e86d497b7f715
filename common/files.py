"""Files that are whole or not there at all, and paths that arrive as they were typed."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = [
    "as_expression",
    "check_writable",
    "entry_fault",
    "files_of",
    "is_file_name",
    "printable",
    "read_json",
    "readable",
    "remove_leftovers",
    "usable_path",
    "whole_file",
]

NO_UTF_8 = re.compile("[\ud800-\udfff]")
"""What Python puts in a name for a byte that is no UTF-8."""
TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}
"""How a text file is opened in which names that are no UTF-8 keep their bytes."""
LONGEST_TAIL = 200  # bytes
PLAIN = re.compile(r"[^\W\d]|[0-9 ./,;=+~^()\[\]{}_-]")
"""Characters that mean nothing to the config parser, nor within the quotes of an expression or of a shell."""


def files_of(volume: str | Path | Sequence[str | Path]) -> list[str]:
    """The paths of a volume: one file, a folder (DICOM series), or a list of files, one for each channel."""
    return [str(volume)] if isinstance(volume, str | Path) else [str(file) for file in volume]


def entry_fault(path: str | Path) -> str:
    """Why a path is neither a file nor a folder that can be read, without opening it: a pipe would wait forever.

    Empty where it is one. Otherwise the kind of thing it is, such as ``a link that leads nowhere``.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        if getattr(error, "errno", None) == errno.ELOOP:
            return "a link that leads to itself"
        if isinstance(error, FileNotFoundError):
            return "a link that leads nowhere" if os.path.islink(path) else "no such file or folder"
        return "cannot be read: " + (getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "a pipe, a socket or a device"
    needed = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
    return "" if os.access(path, needed) else "cannot be read: no permission"


def printable(text: str) -> str:
    """The text with ``\\udce9`` for what is no UTF-8 in the name of a file, so that it can be printed and drawn."""
    return text.encode(errors="backslashreplace").decode()


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name to write to, renamed to ``path`` at the end and removed on error; makes the folder.

    Whatever interrupts the writing, ``path`` is the old file or the new one, never a part. The name is hidden, in the
    same folder, ends as ``path`` does (writers choose a format by it), is UTF-8 even where ``path`` is not (ITK writes
    to no other), and differs between processes and threads. The
    bytes are on the disk before the file has its name, so that a power failure leaves no hollow file either.

    Args:
        path: the file to be.

    Raises:
        OSError: naming ``path``, where it cannot be written.

    Example:
        >>> with whole_file(folder / "plan.json") as file:
        ...     file.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial{os.getpid()}_{threading.get_ident()}_{_tail(printable(path.name))}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # else it would hide what happened
            partial.unlink(missing_ok=True)


def _tail(name: str) -> str:
    """As much of a name's end as leaves room before it: names have 255 bytes at most."""
    return name.encode()[-LONGEST_TAIL:].decode(errors="ignore")


def check_writable(folder: str | Path) -> None:
    """Make a folder, and raise unless a file could be written there; leaves none.

    Raises:
        OSError: naming the folder: the disk is full, or the file system is read-only, say.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = "Is no folder" if folder.is_file() else error.strerror or str(error)
        reason += "; nothing can be written there: make room, or name another --output_dir"
        raise OSError(error.errno, reason, str(folder)) from error


def is_file_name(name: object) -> bool:
    """Whether a case's name stays in the folder where its files are written."""
    return (
        isinstance(name, str | int)
        and not re.search(r"[/\\\0]", str(name))
        and str(name).strip() not in ("", ".", "..")
    )


def remove_leftovers(folder: str | Path, names: str) -> None:
    """Remove what killed processes left half written; only while nothing else writes these files.

    Args:
        folder: that of the files.
        names: their names as a pattern, such as ``"model_epoch=*.pt"``.
    """
    for partial in Path(folder).glob(f".partial*_{names}"):
        partial.unlink(missing_ok=True)


def read_json(path: str | Path, *, remedy: str = "restore it", missing: str = "no such file") -> dict[str, Any]:
    """The object in a JSON file, with a byte-order mark or without.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the message.
        missing: what to say where there is none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is broken or holds no object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {missing}")
    text = path.read_bytes()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = "is a web page, expected JSON" if text.lstrip()[:1] == b"<" else f"is damaged or no JSON ({error})"
        raise ValueError(f"{path}: {what}; {remedy}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a JSON object in braces; {remedy}")
    return content


def as_expression(text: str) -> str:
    """A config expression whose value is ``text``, whatever characters it has.

    MONAI's config parser gives ``#``, ``@``, ``%`` and ``$`` a meaning, and the command line's parser makes numbers,
    lists and ``None`` of text. What this returns passes through both, and through a shell within single quotes.

    Example:
        >>> print(as_expression("/data/Fall #12"))
        $"/data/Fall \\x2312"
    """
    return '$"' + "".join(c if PLAIN.fullmatch(c) else _escaped(c) for c in text) + '"'


def usable_path(value: object, knob: str, *, several: bool = False) -> None:
    """Refuse a path that the command line or the config parser has changed: to be called before anything is written.

    The command line's parser makes a number of ``2024_05_01`` and a list of ``Smith,John``, and cuts ``Fall #12`` off
    at its ``#``; the config parser turns ``#`` into ``::``. The message has what to type instead.

    Args:
        value: what arrived at the config.
        knob: its name, such as ``"output_dir"``.
        several: whether the knob may also hold a list of paths.

    Raises:
        ValueError: naming the knob, what arrived and what to type.
    """
    typed = _typed(knob)
    if typed is not None and typed[:1] not in tuple("$@%") and value != _meant(typed, several=several):
        instead = f"--{knob} '{as_expression(typed)}'"
        what = (
            "a list, but takes one path; for one of that name" if typed.startswith("[") else "which is something else;"
        )
        raise ValueError(f"--{knob} {typed}: arrived as {value!r}, {what} type {instead}")
    paths = value if several and isinstance(value, list) and value else [value]
    for path in paths:
        if several and isinstance(path, dict):  # a case with its image, as hosts and lists have it
            continue
        if not isinstance(path, str | Path):
            raise ValueError(f"{knob}={path!r}: a {type(path).__name__}, expected the text of a path")
        _check_characters(str(path), knob)


def _check_characters(text: str, knob: str) -> None:
    """Raise ValueError for a path that is empty, has control characters, or lost its ``#`` or its home on the way."""
    changed = text.rpartition("::")[0] + "::" + re.split("[/\\\\]", text.rpartition("::")[2])[0]
    if not text.strip():
        raise ValueError(f"{knob}={text!r}: no path; name a file or a folder")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{knob}={text!r}: has a line break or another control character; rename the file or folder")
    if NO_UTF_8.search(text) and knob != "dataset_dir":
        raise ValueError(f"{knob}={text!r}: is no UTF-8, so that not every format can be written there; rename it")
    if "::" in text and not Path(changed).exists():
        instead = as_expression(text.replace("::", "#"))
        raise ValueError(f"{knob}={text}: the config parser turned # into ::, type --{knob} '{instead}'")
    if re.match("~(/|$)", text) and not Path(text).exists():
        raise ValueError(f'{knob}={text}: the shell did not replace ~; type --{knob} "$HOME{text[1:]}"')


def _typed(knob: str) -> str | None:
    """What follows ``--knob`` on the command line, if this is a command of ``monai.bundle``; None otherwise."""
    if Path(sys.argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py"):
        return None
    found = None
    for argument, following in zip(sys.argv[1:], [*sys.argv[2:], None], strict=True):
        name, equals, text = argument.partition("=")
        if name.startswith("-") and name.lstrip("-").replace("-", "_") == knob:
            found = text if equals else following
    return found


def _meant(typed: str, *, several: bool) -> object:
    """What a person means who types this: its text, that within its quotes, or a list in brackets."""
    if typed[:1] in tuple("'\"") or (several and typed.startswith("[")):
        try:
            return ast.literal_eval(typed)
        except (SyntaxError, ValueError):
            return typed
    return typed


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


def readable(config: object) -> str:
    """JSON as the configs are written: what fits a line stands on one line."""

    def lines(value: object, indent: int) -> str:
        flat = json.dumps(value, ensure_ascii=False)
        if not isinstance(value, dict | list) or not value or (indent and len(flat) + indent <= 240):
            return flat
        pad = " " * (indent + 4)
        if isinstance(value, dict):
            items = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {lines(v, indent + 4)}" for k, v in value.items()]
        else:
            items = [pad + lines(item, indent + 4) for item in value]
        left, right = "{}" if isinstance(value, dict) else "[]"
        if indent and all(len(item) < 90 and "\n" not in item for item in items):
            items = [pad + row for row in _filled([item.strip() for item in items])]
        return f"{left}\n" + ",\n".join(items) + f"\n{' ' * indent}{right}"

    return lines(config, 0) + "\n"


def _filled(items: list[str]) -> list[str]:
    """Short items side by side, in rows of at most 170 characters."""
    rows = [""]
    for item in items:
        if rows[-1] and len(rows[-1]) + len(item) > 166:
            rows.append("")
        rows[-1] += f", {item}" if rows[-1] else item
    return rows
