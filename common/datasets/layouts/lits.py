"""Layout of LiTS, the liver tumor segmentation challenge: ``volume-<n>.nii`` and ``segmentation-<n>.nii``."""

from __future__ import annotations

import re
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import entries_near
from common.datasets.layouts.data_set import DataSet

__all__ = ["is_lits", "lits_data_set", "lits_datalist"]

NAME = re.compile(r"(volume|segmentation)-(\d+)(?i:\.nii(\.gz)?)")
TEST = re.compile(r"(test-volume-\d+)(?i:\.nii(\.gz)?)")


def is_lits(folder: Path) -> bool:
    """Whether there is a file ``segmentation-<n>.nii``, here or in a folder."""
    return any((named := NAME.fullmatch(path.name)) and named[1] == "segmentation" for path in entries_near(folder))


def lits_data_set(dataset_dir: str | Path) -> DataSet:
    """LiTS: CT of the liver with its tumors; ``test-volume-<n>.nii`` are unlabeled.

    Raises:
        DataError: as :func:`lits_datalist`.
    """
    cases = lits_datalist(dataset_dir)
    tests = [(path, named[1]) for path in entries_near(Path(dataset_dir)) if (named := TEST.fullmatch(path.name))]
    rest = [{"case": case, "image": str(path)} for path, case in tests]
    structures = {"liver": 1, "tumor": 2}
    return DataSet("lits", cases, channels=("CT",), modality="CT", structures=structures, unlabeled=rest)


def lits_datalist(dataset_dir: str | Path) -> list[dict[str, str]]:
    """The cases of a LiTS folder, sorted by number; volume and segmentation belong together by their number.

    Args:
        dataset_dir: holds the files, or folders (the challenge's batches) that hold them, ``.nii`` or ``.nii.gz``. All
            other files are left alone, the challenge's ``test-volume-<n>.nii`` and stray ``._volume-<n>.nii`` too.

    Returns:
        ``case`` (``volume-<n>``), ``image`` and ``label`` of each number of which there is either. A missing partner is
        expected beside the file that is there; :func:`~common.datasets.check_datalist` names it with all other faults.

    Raises:
        DataError: for a wrong path, a folder without cases, or two files of one kind and number; all of them are named.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one that holds volume-<n>.nii and segmentation-<n>.nii")
    found: dict[int, dict[str, list[Path]]] = {}
    for path in entries_near(root):
        if named := NAME.fullmatch(path.name):
            kind, number = named[1], int(named[2])
            found.setdefault(number, {"volume": [], "segmentation": []})[kind].append(path)
    if not found:
        raise DataError(f"{root}: holds no cases; expected volume-<n>.nii and segmentation-<n>.nii, or folders of them")
    twice = [paths for kinds in found.values() for paths in kinds.values() if len(paths) > 1]
    if twice:
        lines = "\n".join("  " + ", ".join(map(str, paths)) for paths in twice)
        raise DataError(f"{root}: several files have the same number; remove all but one of each line:\n{lines}")
    cases = []
    for number, kinds in sorted(found.items()):
        there = (kinds["volume"] or kinds["segmentation"])[0]
        paths = {kind: str(files[0] if files else _partner(there, kind)) for kind, files in kinds.items()}
        cases.append({"case": f"volume-{number}", "image": paths["volume"], "label": paths["segmentation"]})
    return cases


def _partner(path: Path, kind: str) -> Path:
    """Where the file of the other kind is expected."""
    return path.with_name(f"{kind}-{path.name.split('-', 1)[1]}")
