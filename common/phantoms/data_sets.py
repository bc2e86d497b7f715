"""Whole data sets of phantoms, each in the files of a published one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from common.datasets.layouts.brats import CONTRASTS
from common.phantoms.abdomen import abdomen_phantom
from common.phantoms.atrium import atrium_phantom
from common.phantoms.brain import CORE, EDEMA, ENHANCING, brain_phantom
from common.phantoms.files import (
    case_affine,
    case_seeds,
    reoriented,
    write_nifti,
    write_nrrd,
    write_phantoms,
)

__all__ = [
    "write_atria2018",
    "write_brats2020",
    "write_flare21",
    "write_lits",
    "write_msd_task01",
    "write_task03_liver",
]

# All eight combinations of directions of axial slices, and three of sagittal and coronal ones.
AXIAL_AND_OTHERS = ("LPS", "RAI", "SPL", "LAS", "RPS", "LPI", "RAS", "LAI", "RPI", "PIR", "LSA")
FLIPPED = ("LPS", "RAS")  # axial slices of one shape
TEST_IMAGES = 2  # unlabeled, in layouts that have them


def write_atria2018(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of the 2018 Atrial Segmentation Challenge: ``<folder>/<case>/{lgemri,laendo}.nrrd``.

    Volumes are uint8, gzip-encoded, 1.25 x 1.25 x 2.5 mm, and stored in turn along differently permuted and flipped
    axes, with the affine that says so. Case ``k`` is the same whatever the number of cases.

    Args:
        folder: as for :func:`write_phantoms`.
        cases: how many patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the case folders.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"phantom_{k:03d}" for k in range(cases)]
    stems = ("lgemri", "laendo")

    def write(root: Path) -> None:
        for k, (name, state) in enumerate(zip(names, case_seeds(seed, cases), strict=True)):
            image, label, spacing = atrium_phantom(state)
            affine = case_affine(state, spacing)
            for stem, array in zip(stems, (image, label), strict=True):
                write_nrrd(root / name / f"{stem}.nrrd", *reoriented(array, affine, k))

    contents = {"layout": "atria2018", "version": 1, "cases": cases, "seed": seed}  # raise version with other voxels
    write_phantoms(folder, contents, [f"{name}/{stem}.nrrd" for name in names for stem in stems], write)
    return names


def write_task03_liver(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of the Decathlon's Task03_Liver: ``dataset.json`` and what it lists.

    Images are int16 (HU), labels uint8: 1 liver, 2 tumor; about one case in six has no tumor. Volumes are stored in
    turn along differently permuted and flipped axes, with the affine that says so. As in the real archive, stray
    ``._*`` files lie between the images, so that only ``dataset.json`` tells what is a case; two test images have no
    label. Case ``k`` is the same whatever the number of cases.

    Args:
        folder: as for :func:`write_phantoms`.
        cases: how many labeled patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the labeled cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"liver_{k}" for k in range(cases)]
    tests = [f"liver_{k}" for k in range(cases, cases + TEST_IMAGES)]
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    listing = {
        "name": "Liver",
        "description": "Liver and liver tumors of made-up patients: for demonstration only",
        "reference": "none: phantoms",
        "licence": "Apache-2.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "numTraining": cases,
        "numTest": TEST_IMAGES,
        "training": training,
        "test": [f"./imagesTs/{name}.nii.gz" for name in tests],
    }
    strays = [f"imagesTr/._{names[0]}.nii.gz", f"labelsTr/._{names[0]}.nii.gz"]
    volumes = [path for item in training for path in item.values()] + listing["test"]

    def write(root: Path) -> None:
        states = [*case_seeds(seed, cases), *case_seeds([seed, 1], TEST_IMAGES)]
        for k, (name, state) in enumerate(zip(names + tests, states, strict=True)):
            phantom = abdomen_phantom(state)
            label = np.where(phantom.tumor, np.uint8(2), np.uint8(1) * (phantom.organs == 1))
            part = "Tr" if k < cases else "Ts"
            for kind, array in [("images", phantom.image), *([("labels", label)] if k < cases else [])]:
                stored = reoriented(array, case_affine(state, phantom.spacing), k)
                write_nifti(root / f"{kind}{part}" / f"{name}.nii.gz", *stored)
        for stray in strays:
            (root / stray).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")  # AppleDouble's magic number
        (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")

    contents = {"layout": "task03_liver", "version": 1, "cases": cases, "seed": seed}
    write_phantoms(folder, contents, [*(path[2:] for path in volumes), *strays, "dataset.json"], write)
    return names


def write_lits(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write the patients of :func:`write_task03_liver` as LiTS: ``volume-<n>.nii`` and ``segmentation-<n>.nii``.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many patients, at least 1; all are labeled.
        seed: of the whole set.

    Returns:
        The names of the cases, whose numbers are none of LiTS's: its list of cases is not theirs.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    numbers = range(1000, 1000 + cases)

    def write(root: Path) -> None:
        for k, (number, state) in enumerate(zip(numbers, case_seeds(seed, cases), strict=True)):
            phantom = abdomen_phantom(state)
            affine = case_affine(state, phantom.spacing)
            label = np.where(phantom.tumor, np.uint8(2), np.uint8(1) * (phantom.organs == 1))
            for kind, array in (("volume", phantom.image), ("segmentation", label)):
                write_nifti(root / f"{kind}-{number}.nii", *reoriented(array, affine, k))

    contents = {"layout": "lits", "version": 1, "cases": cases, "seed": seed}
    files = [f"{kind}-{number}.nii" for number in numbers for kind in ("volume", "segmentation")]
    write_phantoms(folder, contents, files, write)
    return [f"volume-{number}" for number in numbers]


def write_flare21(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of FLARE 2021: ``train_images``, ``train_mask`` and two ``val_images``.

    Images are int16 (HU), masks uint8: 1 liver, 2 kidney, 3 spleen, 4 pancreas; tumors of the liver belong to it.
    Slices are 4.2 to 4.8 mm apart, pixels 2.4 to 2.7 mm wide, the scanned range is 236 to 280 mm high. Directions are
    mixed: all eight combinations of axial slices, sagittal and coronal ones, with the affine that says so. Case ``k``
    is the same whatever the number of cases.

    Args:
        folder: as for :func:`write_phantoms`.
        cases: how many labeled patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the labeled cases, which are none of FLARE's: its published folds are not theirs.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"phantom_{k:03d}" for k in range(cases + TEST_IMAGES)]
    parts = ["train"] * cases + ["val"] * TEST_IMAGES
    images = [f"{part}_images/{name}_0000.nii.gz" for part, name in zip(parts, names, strict=True)]
    masks = [f"train_mask/{name}.nii.gz" for name in names[:cases]]

    def write(root: Path) -> None:
        states = [*case_seeds(seed, cases), *case_seeds([seed, 1], TEST_IMAGES)]
        for k, (image, state) in enumerate(zip(images, states, strict=True)):
            rng = np.random.default_rng(state)
            in_plane, slices = round(rng.uniform(2.4, 2.7), 2), round(rng.uniform(4.2, 4.8), 2)
            phantom = abdomen_phantom(state, spacing=(in_plane, in_plane, slices), height=rng.uniform(236, 280))
            affine = case_affine(state, phantom.spacing)
            for path, array in [(image, phantom.image), *([(masks[k], phantom.organs)] if k < cases else [])]:
                write_nifti(root / path, *reoriented(array, affine, k, AXIAL_AND_OTHERS))

    contents = {"layout": "flare21", "version": 1, "cases": cases, "seed": seed}
    write_phantoms(folder, contents, [*images, *masks], write)
    return names[:cases]


def write_brats2020(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of BraTS 2020: ``<folder>/<case>/<case>_{flair,seg,t1,t1ce,t2}.nii.gz``.

    Images are int16, 0 outside the brain; labels uint8: 1 core without contrast medium, 2 edema, 4 enhancing tumor,
    which one case in five lacks. All have 60 x 60 x 40 voxels of 3.9 x 3.9 x 4.2 mm, in turn LPS and RAS. Case ``k``
    is the same whatever the number of cases.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the case folders, which are none of BraTS's: its published split is not theirs.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"BraTS20_Phantom_{k:03d}" for k in range(1, cases + 1)]
    kinds = (*CONTRASTS, "seg")

    def write(root: Path) -> None:
        for k, (name, state) in enumerate(zip(names, case_seeds(seed, cases), strict=True)):
            phantom = brain_phantom(state)
            affine = case_affine(state, phantom.spacing)
            for kind, array in zip(kinds, (*phantom.image, phantom.label), strict=True):
                write_nifti(root / name / f"{name}_{kind}.nii.gz", *reoriented(array, affine, k, FLIPPED))

    contents = {"layout": "brats2020", "version": 1, "cases": cases, "seed": seed}
    write_phantoms(folder, contents, [f"{name}/{name}_{kind}.nii.gz" for name in names for kind in kinds], write)
    return names


def write_msd_task01(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write the patients of :func:`write_brats2020` as the Decathlon's Task01_BrainTumour: four channels in a file.

    Channels are FLAIR, T1w, T1gd, T2w, labels 1 edema, 2 core without contrast medium, 3 enhancing tumor.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many patients, at least 1; all are labeled.
        seed: of the whole set.

    Returns:
        The names of the cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"BRATS_{k:03d}" for k in range(1, cases + 1)]
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    listing = {
        "name": "BRATS",
        "description": "Brain tumors of made-up patients: for demonstration only",
        "reference": "none: phantoms",
        "licence": "Apache-2.0",
        "release": "1.0",
        "tensorImageSize": "4D",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "numTraining": cases,
        "numTest": 0,
        "training": training,
        "test": [],
    }

    def write(root: Path) -> None:
        for k, (item, state) in enumerate(zip(training, case_seeds(seed, cases), strict=True)):
            phantom = brain_phantom(state)
            affine = case_affine(state, phantom.spacing)
            label = np.select([phantom.label == value for value in (EDEMA, CORE, ENHANCING)], (1, 2, 3))
            image = np.moveaxis(phantom.image, 0, -1)  # (X, Y, Z, 4)
            for path, array in ((item["image"], image), (item["label"], label.astype(np.uint8))):
                write_nifti(root / path, *reoriented(array, affine, k, FLIPPED))
        (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")

    contents = {"layout": "msd_task01", "version": 1, "cases": cases, "seed": seed}
    files = [path[2:] for item in training for path in item.values()]
    write_phantoms(folder, contents, [*files, "dataset.json"], write)
    return names
