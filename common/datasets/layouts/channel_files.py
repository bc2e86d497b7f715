"""Images with a file for each channel, in nnU-Net's names: ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, ..."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.names import SUFFIXES

__all__ = ["channel_of", "channels_in", "images_by_case", "suffix_of"]

CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


def suffix_of(name: str, suffixes: Sequence[str] = SUFFIXES) -> str:
    """The suffix of an image's name, as it is written there; empty where it is none."""
    found = next((suffix for suffix in suffixes if name.lower().endswith(suffix.lower())), "")
    return name[len(name) - len(found) :] if found else ""


def channel_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> tuple[str, int] | None:
    """Case and number of the channel in a file's name; None where there is none."""
    suffix = suffix_of(path.name, suffixes)
    named = CHANNEL.fullmatch(path.name.removesuffix(suffix)) if suffix else None
    return (named[1], int(named[2])) if named else None


def channels_in(paths: Sequence[Path]) -> int:
    """How many channels an image has by these names: those of the case with the most, numbered from 0 without a gap."""
    numbers: dict[str, set[int]] = {}
    for path in paths:
        if named := channel_of(path):
            numbers.setdefault(named[0], set()).add(named[1])
    return max((len(own) for own in numbers.values() if own == set(range(len(own)))), default=0)


def images_by_case(
    paths: Sequence[Path], *, channels: int | None = None, suffixes: Sequence[str] = SUFFIXES
) -> dict[str, Path | list[Path]]:
    """The images among files, sorted by case: a file, or a list of files where there are several channels.

    Args:
        paths: files; those without a channel in their names are left out.
        channels: of each image; None: as many as the case with the most has.
        suffixes: of images.

    Returns:
        Case -> image. A channel that is missing is expected beside the others.

    Raises:
        DataError: for a channel that is there twice.
    """
    found: dict[str, dict[int, Path]] = {}
    for path in paths:
        if named := channel_of(path, suffixes):
            own = found.setdefault(named[0], {})
            if named[1] in own:
                raise DataError(
                    f"{own[named[1]]}, {path}: both are channel {named[1]} of {named[0]}; remove one of them"
                )
            own[named[1]] = path
    count = channels or max((max(own) + 1 for own in found.values()), default=0)
    images: dict[str, Path | list[Path]] = {}
    for case, own in sorted(found.items()):
        there = next(iter(own.values()))
        ending = suffix_of(there.name, suffixes)
        files = [own.get(k, Path(os.path.join(there.parent, f"{case}_{k:04d}{ending}"))) for k in range(count)]
        files += [path for k, path in sorted(own.items()) if k >= count]  # too many: for the check to say
        images[case] = files[0] if len(files) == 1 else files
    return images
