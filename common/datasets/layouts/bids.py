"""Layout of BIDS: images in ``sub-01[/ses-1]/anat``, labels in ``derivatives/<pipeline>/sub-01[/ses-1]/anat``."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common.datasets.errors import DataError
from common.datasets.folders import entries_of
from common.datasets.layouts.channel_files import suffix_of
from common.datasets.layouts.data_set import DataSet, modality_named

__all__ = ["bids_data_set", "is_bids"]

FOLDERS = ("anat", "ct", "pet", "dwi", "perf")
LABELS = ("dseg", "mask")
ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9]+)", re.IGNORECASE)
EXPECTED = "sub-01/anat/sub-01_T1w.nii.gz and derivatives/labels/sub-01/anat/sub-01_dseg.nii.gz"
COMMON = 0.5  # of the sessions, at least, have an image of a channel; the others miss it


class Volume(NamedTuple):
    """A file, and what its name says."""

    path: Path
    session: str  # sub-01 or sub-01_ses-1
    suffix: str  # T1w
    entities: dict[str, str]


def is_bids(folder: Path) -> bool:
    """Whether there are folders ``sub-<name>``, and folders of such in ``derivatives``."""
    subjects = any(path.name.startswith("sub-") and os.path.isdir(path) for path in entries_of(folder))
    return subjects and any(_subjects(pipeline) for pipeline in _pipelines(folder))


def bids_data_set(dataset_dir: str | Path) -> DataSet:
    """A BIDS data set with labels among its derivatives; a case is a session, or a subject without sessions.

    Args:
        dataset_dir: holds ``sub-<name>[/ses-<name>]/{anat,ct,...}/*_<suffix>.nii.gz`` and, in any folder of
            ``derivatives``, the same tree with ``*_dseg.nii.gz`` or ``*_mask.nii.gz``. A suffix (``T1w``, ``FLAIR``)
            that half of the labeled sessions have, or more, is a channel. Of several images of one suffix in a session,
            the one with the fewest entities (``acq-``, ``run-``) counts.

    Returns:
        The labeled sessions, sorted; those without a label as unlabeled. Structures are named by a ``*_dseg.tsv`` of
        the derivative (columns ``index`` and ``name``), or by a mask's ``label-<name>``; ``groups`` by the subject.

    Raises:
        DataError: for a wrong path, no cases, or sessions with several labels; all of them are named.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {EXPECTED}")
    images = _by_session([volume for volume in _volumes(root) if volume.suffix.lower() not in LABELS])
    labels = _labels(root)
    sessions = sorted(labels)
    if not sessions or not images:
        raise DataError(f"{root}: holds no labeled images; expected {EXPECTED}")
    counts = Counter(suffix for session in sessions for suffix in images.get(session, {}))
    channels = tuple(sorted(suffix for suffix, count in counts.items() if count >= COMMON * len(sessions)))
    if not channels:
        raise DataError(f"{root}: no image lies in half of the {len(sessions)} labeled sessions")
    cases = [
        {"case": session, "image": _image(root, session, images.get(session, {}), channels), "label": str(label.path)}
        for session, label in sorted(labels.items())
    ]
    rest = [
        {"case": session, "image": _image(root, session, own, channels)}
        for session, own in sorted(images.items())
        if session not in labels and set(channels) <= set(own)
    ]
    return DataSet(
        "bids",
        cases,
        channels=channels,
        modality=modality_named(channels),
        structures=_structures(root, list(labels.values())),
        groups={session: session.partition("_")[0] for session in sessions if "_" in session},
        unlabeled=rest,
    )


def _pipelines(root: Path) -> list[Path]:
    """The derivatives' folders, one for each pipeline, or ``derivatives`` itself."""
    above = root / "derivatives"
    return [above, *(path for path in entries_of(above) if os.path.isdir(path))] if above.is_dir() else []


def _subjects(folder: Path) -> list[Path]:
    return [path for path in entries_of(folder) if path.name.startswith("sub-") and os.path.isdir(path)]


def _volumes(folder: Path) -> Iterator[Volume]:
    """The volumes of a tree of subjects, in their order."""
    for subject in _subjects(folder):
        inside = [path for path in entries_of(subject) if os.path.isdir(path)]
        sessions = [path for path in inside if path.name.startswith("ses-")]
        for session in [subject, *sessions]:
            name = subject.name if session == subject else f"{subject.name}_{session.name}"
            for kind in [session / kind for kind in FOLDERS if os.path.isdir(session / kind)]:
                for path in entries_of(kind):
                    if ending := suffix_of(path.name):
                        parts, _, suffix = path.name.removesuffix(ending).rpartition("_")
                        yield Volume(path, name, suffix, dict(ENTITY.findall(parts)))


def _by_session(volumes: list[Volume]) -> dict[str, dict[str, Volume]]:
    """Session -> suffix -> the image with the fewest entities."""
    found: dict[str, dict[str, Volume]] = {}
    for volume in volumes:
        own = found.setdefault(volume.session, {})
        if volume.suffix not in own or len(volume.entities) < len(own[volume.suffix].entities):
            own[volume.suffix] = volume
    return found


def _labels(root: Path) -> dict[str, Volume]:
    """Session -> its label: a segmentation rather than a mask."""
    found: dict[str, list[Volume]] = {}
    for pipeline in _pipelines(root):
        for volume in _volumes(pipeline):
            if volume.suffix.lower() in LABELS:
                found.setdefault(volume.session, []).append(volume)
    chosen, faults = {}, []
    for session, volumes in sorted(found.items()):
        segmentations = [volume for volume in volumes if volume.suffix.lower() == LABELS[0]] or volumes
        chosen[session] = segmentations[0]
        if len(segmentations) > 1:
            faults.append("  " + ", ".join(str(volume.path) for volume in segmentations))
    if faults:
        raise DataError(f"{root}: sessions have several labels; leave one, as one file:\n" + "\n".join(faults))
    return chosen


def _image(root: Path, session: str, own: dict[str, Volume], channels: tuple[str, ...]) -> str | list[str]:
    folder = own[next(iter(own))].path.parent if own else root.joinpath(*session.split("_"), FOLDERS[0])
    files = [str(own[c].path if c in own else folder / f"{session}_{c}.nii.gz") for c in channels]
    return files[0] if len(files) == 1 else files


def _structures(root: Path, labels: list[Volume]) -> dict[str, int | list[int]]:
    """Structures by the table beside the labels, or else by the name of a mask."""
    if all(label.suffix.lower() == "mask" for label in labels):
        names = {label.entities.get("label", label.entities.get("desc", "")) for label in labels}
        return {names.pop(): 1} if len(names) == 1 and all(names) else {}
    for pipeline in _pipelines(root):
        for table in [path for path in entries_of(pipeline) if path.name.endswith("dseg.tsv")]:
            with table.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            try:
                return {row["name"].strip(): int(row["index"]) for row in rows if int(row["index"]) != 0}
            except (KeyError, ValueError, TypeError, AttributeError):
                raise DataError(f"{table}: expected columns index (label value) and name, separated by tabs") from None
    return {}
