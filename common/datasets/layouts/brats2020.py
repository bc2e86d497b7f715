"""Layout of BraTS 2020: a folder for each patient, with a file for each of four MR contrasts and the label."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import entries_of, folders_in, is_stray

__all__ = ["CONTRASTS", "brats2020_datalist", "brats2020_images", "brats2020_patient"]

logger = logging.getLogger(__name__)

CONTRASTS = ("flair", "t1", "t1ce", "t2")
LABEL = "seg"
TRAINING = "MICCAI_BraTS2020_TrainingData"
NAME = re.compile(r"(.+)_(flair|t1|t1ce|t2|seg)\.nii(\.gz)?", re.IGNORECASE)


def brats2020_datalist(dataset_dir: str | Path) -> list[dict]:
    """The labeled patients of a BraTS 2020 folder, sorted by id; files belong together by the patient's folder.

    Args:
        dataset_dir: holds a folder for each patient, ``<patient>/<patient>_{flair,t1,t1ce,t2,seg}.nii`` or ``.nii.gz``;
            or is above the archive's folder ``MICCAI_BraTS2020_TrainingData``, which holds them. Loose files and hidden
            folders are left alone.

    Returns:
        ``case`` (the folder's name), ``image`` (the files of FLAIR, T1, T1ce, T2, in this order) and ``label`` of each.
        A file that is missing is expected beside the others; :func:`~common.datasets.check_datalist` names it with all
        other faults. Where one is missing, and one NIfTI file of another name lies there, it is taken for it, with a
        warning: patient 355's label is called ``W39_...`` in a common download.

    Raises:
        DataError: for a wrong path, no patients, or folders whose files are another patient's or there twice; all of
            them are named.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one that holds BraTS20_Training_<n>/")
    root = next(
        (path for path in (root / TRAINING, *(path / TRAINING for path in entries_of(root))) if path.is_dir()), root
    )
    folders = folders_in(root)
    if not folders:
        raise DataError(
            f"{root}: holds no patients; expected <patient>/<patient>_{{{','.join((*CONTRASTS, LABEL))}}}.nii"
        )
    cases, faults = [], []
    for folder in folders:
        try:
            stem, files = _files(folder)
            if stem != folder.name:
                raise DataError(f"{folder}: holds {'files of ' + stem if stem else 'no files of this patient'}")
            images = [str(files[contrast]) for contrast in CONTRASTS]
            cases.append({"case": folder.name, "image": images, "label": str(files[LABEL])})
        except DataError as error:
            faults.append(f"  {error}")
    if faults:
        remedy = "expected <patient>/<patient>_<contrast>.nii or .nii.gz, each once; rename, move or remove them"
        raise DataError(f"{len(faults)} of {len(folders)} folders cannot be used; {remedy}:\n" + "\n".join(faults))
    return cases


def brats2020_images(folder: Path) -> list[Path] | None:
    """The files of one patient, labeled or not, for inference; None where there are fewer than three of the contrasts.

    Args:
        folder: of any name.

    Returns:
        The files of FLAIR, T1, T1ce, T2, in this order; one that is missing is named as expected.

    Raises:
        DataError: for a contrast that is there twice.
    """
    names = [name for path in entries_of(folder) if (name := _name(path))]
    kinds = {name[2].lower() for name in names}
    if len({name[1] for name in names}) != 1 or len(kinds.intersection(CONTRASTS)) < 3:
        return None
    _, files = _files(folder, any_name=False)
    return [files[contrast] for contrast in CONTRASTS]


def brats2020_patient(path: Path) -> str | None:
    """The patient's id in a file's name, such as ``BraTS20_Training_001``; None where it is no name of this layout."""
    name = _name(path)
    return name[1] if name else None


def _files(folder: Path, *, any_name: bool = True) -> tuple[str, dict[str, Path]]:
    """The patient's id, empty where no file tells, and a path for each contrast and the label.

    With ``any_name``, the one missing is the one file that is named otherwise.
    """
    volumes = [path for path in entries_of(folder) if path.name.lower().endswith((".nii", ".nii.gz"))]
    named = [(path, name) for path in volumes if (name := _name(path))]
    stems = sorted({name[1] for _, name in named})
    if len(stems) > 1:
        raise DataError(f"{folder}: holds files of several patients, {', '.join(stems)}")
    if not named:
        return "", {}
    found: dict[str, Path] = {}
    for path, name in named:
        kind = name[2].lower()
        if kind in found:
            raise DataError(f"{folder}: holds both {found[kind].name} and {path.name}")
        found[kind] = path
    missing = [kind for kind in (*CONTRASTS, LABEL) if kind not in found]
    others = [path for path in volumes if not _name(path)]
    if any_name and len(missing) == len(others) == 1:
        logger.warning("%s: taken for the missing %s_%s", others[0], stems[0], missing[0])
        found[missing[0]] = others[0]
    suffix = named[0][1][3] or ""
    return stems[0], {k: found.get(k, folder / f"{stems[0]}_{k}.nii{suffix}") for k in (*CONTRASTS, LABEL)}


def _name(path: Path) -> re.Match[str] | None:
    """Patient, contrast and compression in a file's name."""
    return None if is_stray(path.name) else NAME.fullmatch(path.name)
