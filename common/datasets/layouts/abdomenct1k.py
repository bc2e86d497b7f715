"""Layout of AbdomenCT-1K: images ``Case_<n>_0000.nii.gz`` and masks ``Case_<n>.nii.gz``, in any folders."""

from __future__ import annotations

import re
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import entries_near
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.dataset_json import LISTING
from common.datasets.layouts.flare21 import ORGANS, is_flare21

__all__ = ["abdomenct1k_data_set", "abdomenct1k_datalist", "is_abdomenct1k"]

NAME = re.compile(r"(Case_\d+)(_0000)?(?i:\.nii\.gz)")


def is_abdomenct1k(folder: Path) -> bool:
    """Whether there are files ``Case_<n>_0000.nii.gz``, which no ``dataset.json`` and no folder of FLARE explains."""
    if (folder / LISTING).is_file() or is_flare21(folder):
        return False
    return any((named := NAME.fullmatch(path.name)) and named[2] for path in entries_near(folder))


def abdomenct1k_data_set(dataset_dir: str | Path) -> DataSet:
    """AbdomenCT-1K: CT of the abdomen with the organs of FLARE 2021; an image without a mask is taken for a mistake.

    Raises:
        DataError: as :func:`abdomenct1k_datalist`.
    """
    cases = abdomenct1k_datalist(dataset_dir)
    return DataSet("abdomenct1k", cases, channels=("CT",), modality="CT", structures=ORGANS)


def abdomenct1k_datalist(dataset_dir: str | Path) -> list[dict[str, str]]:
    """The cases of an AbdomenCT-1K folder, sorted by id; image and mask belong together by their id.

    Known are the names of the files. The folders of the download are not, so they do not matter here; that the masks'
    values are those of FLARE 2021 (1 liver, 2 kidney, 3 spleen, 4 pancreas) is assumed, and the check of the data
    refuses others.

    Args:
        dataset_dir: holds the files, or folders that hold them. All other files are left alone.

    Returns:
        ``case`` (such as ``Case_00001``), ``image`` and ``label`` of each id of which there is either. A missing
        partner is expected beside the file that is there; :func:`~common.datasets.check_datalist` names it with all
        other faults.

    Raises:
        DataError: for a wrong path, a folder without cases, or two files of one name; all of them are named.
    """
    root = Path(dataset_dir)
    expected = "expected Case_<n>_0000.nii.gz and Case_<n>.nii.gz, or folders of them"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {expected}")
    found: dict[str, dict[str, list[Path]]] = {}
    for path in entries_near(root):
        if named := NAME.fullmatch(path.name):
            kinds = found.setdefault(named[1], {"image": [], "label": []})
            kinds["image" if named[2] else "label"].append(path)
    if not found:
        raise DataError(f"{root}: holds no cases; {expected}")
    twice = [paths for kinds in found.values() for paths in kinds.values() if len(paths) > 1]
    if twice:
        lines = "\n".join("  " + ", ".join(map(str, paths)) for paths in twice)
        raise DataError(f"{root}: several files have the same name; remove all but one of each line:\n{lines}")
    cases = []
    for case, kinds in sorted(found.items()):
        folder = (kinds["image"] or kinds["label"])[0].parent
        image, label = (
            str(kinds[kind][0] if kinds[kind] else folder / name)
            for kind, name in (("image", f"{case}_0000.nii.gz"), ("label", f"{case}.nii.gz"))
        )
        cases.append({"case": case, "image": image, "label": label})
    return cases
