"""Layout of the 2018 Atrial Segmentation Challenge: ``<dataset_dir>/<patient>/{lgemri,laendo}.nrrd``."""

from __future__ import annotations

from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import folders_in, named_in

__all__ = ["atria2018_datalist"]

IMAGE, LABEL = "lgemri.nrrd", "laendo.nrrd"


def atria2018_datalist(dataset_dir: str | Path, labeled: bool = True) -> list[dict[str, str]]:
    """The patients of a challenge folder, sorted by name; image and label belong together by their folder.

    Args:
        dataset_dir: holds one folder per patient; hidden folders and loose files are left alone.
        labeled: whether each patient needs a label.

    Returns:
        ``case`` (the patient folder's name), ``image`` and, where ``labeled``, ``label`` of each patient. Whether the
        files are there is for :func:`~common.datasets.check_datalist` to say, together with all other faults.

    Raises:
        DataError: for a wrong path or an empty folder.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one that holds <patient>/{IMAGE}")
    patients = folders_in(root)
    if not patients:
        raise DataError(f"{root}: holds no patient folders; expected <patient>/{IMAGE}")
    wanted = {"image": IMAGE, "label": LABEL} if labeled else {"image": IMAGE}
    return [{"case": p.name, **{key: str(named_in(p, name)) for key, name in wanted.items()}} for p in patients]
