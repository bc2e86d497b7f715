"""Layout of the 2018 Atrial Segmentation Challenge: ``<dataset_dir>/<patient>/{lgemri,laendo}.nrrd``."""

from __future__ import annotations

from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import folders_in, named_in
from common.datasets.layouts.data_set import DataSet

__all__ = ["atria2018_data_set", "atria2018_datalist", "is_atria2018"]

IMAGE, LABEL = "lgemri.nrrd", "laendo.nrrd"


def is_atria2018(folder: Path) -> bool:
    """Whether a folder in it holds ``lgemri.nrrd`` or ``laendo.nrrd``."""
    return any(named_in(patient, name).is_file() for patient in folders_in(folder) for name in (IMAGE, LABEL))


def atria2018_data_set(dataset_dir: str | Path) -> DataSet:
    """The atrial challenge: late gadolinium-enhanced MRI of the heart, the label 255 in the left atrium.

    Raises:
        DataError: as :func:`atria2018_datalist`.
    """
    cases = atria2018_datalist(dataset_dir)
    return DataSet("atria2018", cases, channels=("LGE-MRI",), modality="MR", structures={"left atrium": 255})


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
