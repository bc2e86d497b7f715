"""Phantoms in the layout of the Decathlon's tasks of one structure and one channel."""

from __future__ import annotations

import json
from pathlib import Path

from common.phantoms.atrium import atrium_phantom
from common.phantoms.files import case_affine, case_seeds, reoriented, write_nifti, write_phantoms

__all__ = ["write_task02_heart"]


def write_task02_heart(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write the patients of :func:`~common.phantoms.data_sets.write_atria2018` as the Decathlon's Task02_Heart.

    Images and labels (1 left atrium) are uint8, 1.25 x 1.25 x 2.5 mm, stored in turn along differently permuted and
    flipped axes, with the affine that says so. Case ``k`` is the same whatever the number of cases.

    Args:
        folder: as for :func:`~common.phantoms.files.write_phantoms`.
        cases: how many patients, at least 1; all are labeled.
        seed: of the whole set.

    Returns:
        The names of the cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"la_{k:03d}" for k in range(1, cases + 1)]
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    listing = {
        "name": "LeftAtrium",
        "description": "Left atria of made-up patients: for demonstration only",
        "reference": "none: phantoms",
        "licence": "Apache-2.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "left atrium"},
        "numTraining": cases,
        "numTest": 0,
        "training": training,
        "test": [],
    }

    def write(root: Path) -> None:
        for k, (item, state) in enumerate(zip(training, case_seeds(seed, cases), strict=True)):
            image, label, spacing = atrium_phantom(state)
            affine = case_affine(state, spacing)
            for path, array in ((item["image"], image), (item["label"], (label > 0).astype(label.dtype))):
                write_nifti(root / path, *reoriented(array, affine, k))
        (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")

    contents = {"layout": "decathlon", "version": 1, "cases": cases, "seed": seed}
    files = [path[2:] for item in training for path in item.values()]
    write_phantoms(folder, contents, [*files, "dataset.json"], write)
    return names
