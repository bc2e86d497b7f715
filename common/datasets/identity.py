"""What a case is known by where its name must not be told: a hash of its name, and one of its image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import files_of

__all__ = ["by_identity", "image_hash", "is_hash", "name_hash", "names_hashed"]

NAME, IMAGE = "name:", "image:"
DIGITS = 16  # hexadecimal, of a SHA-256
BLOCKS, BLOCK = 64, 1024  # of a file that are read, and their bytes: a whole cohort is known in seconds


def name_hash(case: str) -> str:
    """Hash of a case's name; whoever knows the name can test it, nobody can read it.

    Example:
        >>> name_hash("hippocampus_001")
        'name:defeb247a55e65d2'
    """
    return NAME + hashlib.sha256(os.fsencode(case)).hexdigest()[:DIGITS]


def image_hash(image: Any) -> str | None:
    """Hash of an image's files, whatever they are called: of their sizes and of 64 blocks of 1 KiB spread over each.

    Args:
        image: a file, a folder (a DICOM series) or a list of files, one for each channel.

    Returns:
        The hash; None where a file cannot be read, or the image is no path but its content.
    """
    if not _is_path(image):
        return None
    try:
        parts = sorted(_file_hash(file) for path in files_of(image) for file in _files(path))
    except OSError:
        return None
    return IMAGE + hashlib.sha256(b"".join(parts)).hexdigest()[:DIGITS] if parts else None


def is_hash(text: str) -> bool:
    """Whether it is a hash of this module, not a name."""
    return text.startswith((NAME, IMAGE))


def names_hashed(cases: Iterable[str]) -> list[str]:
    """Names as hashes, sorted; hashes among them stay."""
    return sorted(case if is_hash(case) else name_hash(case) for case in cases)


def by_identity(cases: Sequence[Mapping[str, Any]], known: Iterable[str]) -> list[Mapping[str, Any]]:
    """The cases that are among the known ones by their name, its hash or the hash of their image.

    Args:
        cases: items with ``case`` and ``image``.
        known: names and hashes.
    """
    known = {*known}
    images = any(text.startswith(IMAGE) for text in known)
    found = []
    for case in cases:
        named = {str(case["case"]), name_hash(str(case["case"]))} & known
        if named or (images and image_hash(case.get("image")) in known):
            found.append(case)
    return found


def _is_path(image: Any) -> bool:
    parts = image if isinstance(image, list | tuple) and image else [image]
    return all(isinstance(part, str | Path) for part in parts)


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)


def _file_hash(path: str) -> bytes:
    size = os.path.getsize(path)
    found = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for n in range(BLOCKS):
            file.seek(max(0, size - BLOCK) * n // (BLOCKS - 1))
            found.update(file.read(BLOCK))
    return found.digest()
