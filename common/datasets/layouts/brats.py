"""Layouts of BraTS: a folder for each patient, with a file for each of four MR contrasts and the label.

Until 2021 the files end in ``_flair``, ``_t1``, ``_t1ce``, ``_t2`` and ``_seg``; from 2023 on in ``-t2f``, ``-t1n``,
``-t1c``, ``-t2w`` and ``-seg``. The channels are in this order in both, so that weights of one fit the other.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from common.datasets.errors import DataError
from common.datasets.folders import entries_of, folders_in, is_stray
from common.datasets.layouts.data_set import DataSet

__all__ = [
    "CONTRASTS",
    "CONTRASTS_2023",
    "brats2020_archives",
    "brats2020_data_set",
    "brats2020_datalist",
    "brats2023_archives",
    "brats2023_data_set",
    "brats2023_datalist",
    "brats_images",
    "brats_patient",
    "is_brats2020",
    "is_brats2023",
]

logger = logging.getLogger(__name__)

CONTRASTS = ("flair", "t1", "t1ce", "t2")
CONTRASTS_2023 = ("t2f", "t1n", "t1c", "t2w")
LABEL = "seg"
UNLABELED = re.compile(r"valid|(?<![a-z])test", re.IGNORECASE)  # in the names of the archives' folders
GRADES = ("HGG", "LGG")  # folders of one archive
DEPTH = 2  # of the patients' folders below the data set's: archive, and HGG or LGG
TUMOR = {"necrotic core": 1, "edema": 2}
STRUCTURES = TUMOR | {"enhancing tumor": 4}
STRUCTURES_2023 = TUMOR | {"enhancing tumor": 3}
CAVITY = {"resection cavity": 4}
CASE_2023 = re.compile(r"(BraTS-([A-Z]+)-\d+)-(\d+)", re.IGNORECASE)  # patient, kind of tumor, visit
TREATED = 100  # from this visit on, a patient has been treated: the challenge of 2024


class Names(NamedTuple):
    """How files are called."""

    contrasts: tuple[str, ...]
    separator: str  # before the contrast
    patient: str  # an example

    @property
    def kinds(self) -> tuple[str, ...]:
        return (*self.contrasts, LABEL)

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(.+){self.separator}({'|'.join(self.kinds)})\.nii(\.gz)?", re.IGNORECASE)

    @property
    def expected(self) -> str:
        return f"<patient>/<patient>{self.separator}{{{','.join(self.kinds)}}}.nii.gz"


UNTIL_2021 = Names(CONTRASTS, "_", "BraTS20_Training_<n>")
FROM_2023 = Names(CONTRASTS_2023, "-", "BraTS-GLI-<n>-<visit>")


def is_brats2020(folder: Path) -> bool:
    """Whether patients of BraTS 2017 to 2021 lie in the folder, or in folders of its own."""
    return bool(_roots(folder, UNTIL_2021))


def is_brats2023(folder: Path) -> bool:
    """Whether patients of BraTS 2023 or later lie in the folder, or in folders of its own."""
    return bool(_roots(folder, FROM_2023))


def brats2020_archives(folder: Path) -> list[Path]:
    """The folders of labeled patients of BraTS 2017 to 2021: this one, or those in it, ``HGG`` and ``LGG`` as one."""
    return _archives(folder, UNTIL_2021)


def brats2023_archives(folder: Path) -> list[Path]:
    """The folders of labeled patients of BraTS 2023 or later: this one, or those in it."""
    return _archives(folder, FROM_2023)


def brats2020_data_set(dataset_dir: str | Path) -> DataSet:
    """BraTS of 2017 to 2021, ``BraTS20_Training_001/BraTS20_Training_001_flair.nii.gz``: labels 1, 2 and 4.

    Args:
        dataset_dir: as for :func:`brats2020_datalist`. Patients in a folder of validation or test are unlabeled.

    Raises:
        DataError: as :func:`brats2020_datalist`.
    """
    cases = brats2020_datalist(dataset_dir)
    rest = _unlabeled(Path(dataset_dir), UNTIL_2021)
    return DataSet("brats2020", cases, channels=CONTRASTS, modality="MR", structures=STRUCTURES, unlabeled=rest)


def brats2023_data_set(dataset_dir: str | Path) -> DataSet:
    """BraTS from 2023 on, ``BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz``: several visits of one patient.

    Labels are 1, 2 and 3, and 4 the resection cavity where a glioma was treated (2024). What those of children's tumors
    (``BraTS-PED``) mean changed from 2023 to 2024 with the same names: no structures are named.

    Args:
        dataset_dir: as for :func:`brats2020_datalist`. Patients in a folder of validation or test are unlabeled.

    Raises:
        DataError: as :func:`brats2020_datalist`.
    """
    cases = brats2023_datalist(dataset_dir)
    named = {case["case"]: match for case in cases if (match := CASE_2023.fullmatch(case["case"]))}
    structures = dict(STRUCTURES_2023)
    if any(match[2].upper() == "GLI" and int(match[3]) >= TREATED for match in named.values()):
        structures |= CAVITY
    if any(match[2].upper() == "PED" for match in named.values()):
        structures = {}
    return DataSet(
        "brats2023",
        cases,
        channels=CONTRASTS_2023,
        modality="MR",
        structures=structures,
        groups={case: match[1] for case, match in named.items()},
        unlabeled=_unlabeled(Path(dataset_dir), FROM_2023),
    )


def brats2020_datalist(dataset_dir: str | Path) -> list[dict]:
    """The labeled patients of BraTS 2017 to 2021, sorted by id; files belong together by the patient's folder.

    Args:
        dataset_dir: holds a folder for each patient, ``<patient>/<patient>_{flair,t1,t1ce,t2,seg}.nii`` or ``.nii.gz``;
            or folders of them, as the archives do (``MICCAI_BraTS2020_TrainingData``, ``HGG``, ``LGG``). Loose files
            and hidden folders are left alone.

    Returns:
        ``case`` (the folder's name), ``image`` (the files of FLAIR, T1, T1ce, T2, in this order) and ``label`` of each.
        A file that is missing is expected beside the others; :func:`~common.datasets.check_datalist` names it with all
        other faults. Where one is missing, and one NIfTI file of another name lies there, it is taken for it, with a
        warning: patient 355's label is called ``W39_...`` in a common download.

    Raises:
        DataError: for a wrong path, no patients, or folders whose files are another patient's or there twice; all of
            them are named.
    """
    return _datalist(Path(dataset_dir), UNTIL_2021)


def brats2023_datalist(dataset_dir: str | Path) -> list[dict]:
    """The labeled patients of BraTS 2023 or later, as :func:`brats2020_datalist`; images are t2f, t1n, t1c, t2w."""
    return _datalist(Path(dataset_dir), FROM_2023)


def brats_images(folder: Path) -> list[Path] | None:
    """The files of one patient, labeled or not, for inference; None where there are fewer than three of the contrasts.

    Args:
        folder: of any name.

    Returns:
        The files of FLAIR, T1, T1ce, T2, in this order; one that is missing is named as expected.

    Raises:
        DataError: for a contrast that is there twice.
    """
    for names in (UNTIL_2021, FROM_2023):
        found = [name for path in entries_of(folder) if (name := _name(path, names))]
        kinds = {name[2].lower() for name in found}
        if len({name[1] for name in found}) == 1 and len(kinds.intersection(names.contrasts)) >= 3:
            _, files = _files(folder, names, any_name=False)
            return [files[contrast] for contrast in names.contrasts]
    return None


def brats_patient(path: Path) -> str | None:
    """The patient's id in a file's name, such as ``BraTS20_Training_001``; None where it is no name of BraTS."""
    name = _name(path, UNTIL_2021) or _name(path, FROM_2023)
    return name[1] if name else None


def _datalist(root: Path, names: Names) -> list[dict]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one that holds {names.patient}/")
    roots = [level for level in _roots(root, names) if not _is_unlabeled(level, root)]
    folders = [folder for level in roots for folder in folders_in(level)]
    if not folders:
        raise DataError(f"{root}: holds no patients; expected {names.expected}")
    cases, faults = [], []
    for folder in folders:
        try:
            stem, files = _files(folder, names)
            if stem != folder.name:
                raise DataError(f"{folder}: holds {'files of ' + stem if stem else 'no files of this patient'}")
            images = [str(files[contrast]) for contrast in names.contrasts]
            cases.append({"case": folder.name, "image": images, "label": str(files[LABEL])})
        except DataError as error:
            faults.append(f"  {error}")
    if faults:
        remedy = "expected <patient>/<patient>_<contrast>.nii or .nii.gz, each once; rename, move or remove them"
        remedy = remedy.replace("_<", f"{names.separator}<")
        raise DataError(f"{len(faults)} of {len(folders)} folders cannot be used; {remedy}:\n" + "\n".join(faults))
    return sorted(cases, key=lambda case: case["case"])


def _unlabeled(root: Path, names: Names) -> list[dict]:
    """The patients in folders of validation or test."""
    cases = []
    for level in _roots(root, names):
        for folder in folders_in(level) if _is_unlabeled(level, root) else []:
            if images := brats_images(folder):
                cases.append({"case": folder.name, "image": [str(image) for image in images]})
    return cases


def _archives(root: Path, names: Names) -> list[Path]:
    labeled = [level for level in _roots(root, names) if not _is_unlabeled(level, root)]
    return sorted({level.parent if level != root and level.name in GRADES else level for level in labeled})


def _is_unlabeled(level: Path, root: Path) -> bool:
    return level != root and UNLABELED.search(str(level.relative_to(root))) is not None


def _roots(root: Path, names: Names, depth: int = DEPTH) -> list[Path]:
    """The folders that hold patients: this one, or else those in it."""
    if not root.is_dir():
        return []
    folders = [folder for folder in folders_in(root) if os.path.isdir(folder)]
    if any(_holds_patient(folder, names) for folder in folders):
        return [root]
    return [level for folder in folders for level in _roots(folder, names, depth - 1)] if depth else []


def _holds_patient(folder: Path, names: Names) -> bool:
    try:
        found = [name for path in entries_of(folder) if (name := _name(path, names))]
    except DataError:  # may not be listed
        return False
    return len({name[2].lower() for name in found}) >= 3


def _files(folder: Path, names: Names, *, any_name: bool = True) -> tuple[str, dict[str, Path]]:
    """The patient's id, empty where no file tells, and a path for each contrast and the label.

    With ``any_name``, the one missing is the one file that is named otherwise.
    """
    volumes = [path for path in entries_of(folder) if path.name.lower().endswith((".nii", ".nii.gz"))]
    named = [(path, name) for path in volumes if (name := _name(path, names))]
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
    missing = [kind for kind in names.kinds if kind not in found]
    others = [path for path in volumes if not _name(path, names)]
    if any_name and len(missing) == len(others) == 1:
        logger.warning("%s: taken for the missing %s%s%s", others[0], stems[0], names.separator, missing[0])
        found[missing[0]] = others[0]
    start, suffix = f"{stems[0]}{names.separator}", named[0][1][3] or ""
    return stems[0], {kind: found.get(kind, folder / f"{start}{kind}.nii{suffix}") for kind in names.kinds}


def _name(path: Path, names: Names) -> re.Match[str] | None:
    """Patient, contrast and compression in a file's name."""
    return None if is_stray(path.name) else names.pattern.fullmatch(path.name)
