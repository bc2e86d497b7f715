"""Phantoms in layouts that are not one published data set's: nnU-Net raw, BraTS 2023, plain folders, BIDS, a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.datasets.layouts.brats import CONTRASTS_2023
from common.phantoms.abdomen import abdomen_phantom
from common.phantoms.brain import ENHANCING, brain_phantom
from common.phantoms.files import case_affine, case_seeds, reoriented, write_nifti, write_phantoms

__all__ = ["write_bids", "write_brats2023", "write_datalist", "write_images_labels", "write_nnunet"]

FLIPPED = ("LPS", "RAS")
CHANNELS = ("FLAIR", "T1w", "T1gd", "T2w")


def write_nnunet(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write the patients of :func:`~common.phantoms.data_sets.write_brats2020` as a raw data set of nnU-Net.

    Four channels (FLAIR, T1w, T1gd, T2w) in files of their own, labels 1 edema, 2 core without contrast medium, 3
    enhancing tumor, trained as regions: whole tumor (1, 2, 3), tumor core (2, 3), enhancing tumor (3). One image lies
    in ``imagesTs``.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many patients, at least 1; all are labeled.
        seed: of the whole set.

    Returns:
        The names of the labeled cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"BRATS_{k:03d}" for k in range(1, cases + 2)]
    listing = {
        "channel_names": {str(k): name for k, name in enumerate(CHANNELS)},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
        "regions_class_order": [1, 2, 3],
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "description": "Brain tumors of made-up patients: for demonstration only",
    }

    def files_of_case(k: int) -> list[str]:
        part = "Tr" if k < cases else "Ts"
        images = [f"images{part}/{names[k]}_{channel:04d}.nii.gz" for channel in range(len(CHANNELS))]
        return images + ([f"labelsTr/{names[k]}.nii.gz"] if k < cases else [])

    def write(root: Path) -> None:
        states = [*case_seeds(seed, cases), *case_seeds([seed, 1], 1)]
        for k, state in enumerate(states):
            phantom = brain_phantom(state)
            label = np.asarray([0, 2, 1, 0, 3], np.uint8)[phantom.label]
            _write_all(root, files_of_case(k), [*phantom.image, label], case_affine(state, phantom.spacing), k)
        (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")

    contents = {"layout": "nnunet", "version": 1, "cases": cases, "seed": seed}
    files = [file for k in range(cases + 1) for file in files_of_case(k)]
    write_phantoms(folder, contents, [*files, "dataset.json"], write)
    return names[:cases]


def write_brats2023(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write the patients of :func:`~common.phantoms.data_sets.write_brats2020` in the names of BraTS 2023.

    ``BraTS-GLI-90001-000/BraTS-GLI-90001-000-{t2f,t1n,t1c,t2w,seg}.nii.gz``, the label of enhancing tumor is 3; every
    second case is the second visit of a patient, here a patient of its own looks.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many visits, at least 1; all are labeled.
        seed: of the whole set.

    Returns:
        The names of the case folders, which are none of BraTS's.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"BraTS-GLI-{90001 + k // 2}-{k % 2:03d}" for k in range(cases)]
    files = [[f"{name}/{name}-{kind}.nii.gz" for kind in (*CONTRASTS_2023, "seg")] for name in names]

    def arrays(state: int) -> tuple[list[np.ndarray], Sequence[float]]:
        phantom = brain_phantom(state)
        label = np.where(phantom.label == ENHANCING, np.uint8(3), phantom.label)
        return [*phantom.image, label], phantom.spacing

    return _write_labeled(folder, "brats2023", names, files, seed=seed, arrays=arrays)


def write_images_labels(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write abdomens as ``images/<case>.nii.gz`` and ``labels/<case>.nii.gz``: 1 liver, 2 kidney, 3 spleen, 4 pancreas.

    Nothing says what the label values or the modality are.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"patient_{k:02d}" for k in range(1, cases + 1)]
    files = [[f"{kind}/{name}.nii.gz" for kind in ("images", "labels")] for name in names]
    return _write_labeled(folder, "images_labels", names, files, seed=seed, arrays=_abdomen)


def write_bids(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write brains as a BIDS data set: T1w and FLAIR of each subject, a tumor as ``dseg`` among the derivatives.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many subjects, at least 1; all are labeled.
        seed: of the whole set.

    Returns:
        The names of the subjects.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"sub-{k:02d}" for k in range(1, cases + 1)]
    files = [
        [f"{name}/anat/{name}_{suffix}.nii.gz" for suffix in ("FLAIR", "T1w")]
        + [f"derivatives/labels/{name}/anat/{name}_dseg.nii.gz"]
        for name in names
    ]
    described = json.dumps({"Name": "Made-up brains: for demonstration only", "BIDSVersion": "1.9.0"}) + "\n"
    texts = {
        "dataset_description.json": described,
        "derivatives/labels/dseg.tsv": "index\tname\n1\tnecrotic core\n2\tedema\n3\tenhancing tumor\n",
    }

    def arrays(state: int) -> tuple[list[np.ndarray], Sequence[float]]:
        phantom = brain_phantom(state)
        label = np.where(phantom.label == ENHANCING, np.uint8(3), phantom.label)
        return [phantom.image[0], phantom.image[1], label], phantom.spacing

    return _write_labeled(folder, "bids", names, files, seed=seed, arrays=arrays, texts=texts)


def write_datalist(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write abdomens that only ``datalist.csv`` sorts: columns case, patient, image_CT and label; two scans a patient.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many scans, at least 1.
        seed: of the whole set.

    Returns:
        The names of the cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"scan_{k:02d}" for k in range(1, cases + 1)]
    files = [[f"scans/{k:02d}.nii.gz", f"outlines/organs_{k:02d}.nii.gz"] for k in range(1, cases + 1)]
    rows = [["case", "patient", "image_CT", "label"]]
    rows += [[name, f"P{k // 2 + 1}", *pair] for k, (name, pair) in enumerate(zip(names, files, strict=True))]
    texts = {"datalist.csv": "".join(",".join(row) + "\n" for row in rows)}
    return _write_labeled(folder, "datalist", names, files, seed=seed, arrays=_abdomen, texts=texts)


def _abdomen(state: int) -> tuple[list[np.ndarray], Sequence[float]]:
    """Image (HU) and organs, in voxels of about 5 mm."""
    phantom = abdomen_phantom(state, spacing=(4.5, 4.5, 5.0), height=240)
    return [phantom.image, phantom.organs], phantom.spacing


def _write_labeled(
    folder: str,
    layout: str,
    names: list[str],
    files: list[list[str]],
    *,
    seed: int,
    arrays: Callable[[int], tuple[list[np.ndarray], Sequence[float]]],
    texts: dict[str, str] | None = None,
) -> list[str]:
    """Write the volumes that ``arrays`` makes of each case's seed into its ``files``, and ``texts`` by their paths."""
    texts = texts or {}

    def write(root: Path) -> None:
        for k, state in enumerate(case_seeds(seed, len(names))):
            volumes, spacing = arrays(state)
            _write_all(root, files[k], volumes, case_affine(state, spacing), k)
        for path, text in texts.items():
            (root / path).write_text(text)

    contents = {"layout": layout, "version": 1, "cases": len(names), "seed": seed}
    write_phantoms(folder, contents, [*(file for own in files for file in own), *texts], write)
    return names


def _write_all(root: Path, files: list[str], arrays: Sequence[np.ndarray], affine: np.ndarray, k: int) -> None:
    for file, array in zip(files, arrays, strict=False):  # a test case has no label
        write_nifti(root / file, *reoriented(array, affine, k, FLIPPED))
