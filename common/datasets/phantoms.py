"""Phantoms: small made-up patients in the file layouts that the bundles read. For demonstration only.

Example::

    python -m common.datasets phantom --layout atria2018 --folder sample_data/atria2018 --cases 12
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.datasets.phantom_abdomen import abdomen_phantom
from common.datasets.phantom_atrium import atrium_phantom
from common.files import whole_file

__all__ = ["is_phantom", "write_atria2018", "write_flare21", "write_phantoms", "write_task03_liver"]

MARKER, UNFINISHED = "phantom.json", "phantom_unfinished.json"
# Axis codes say where each array axis points: the patient's Left/Right, Anterior/Posterior, Superior/Inferior.
ORIENTATIONS = ("LPS", "RAS", "LAS", "SPL", "RPI", "PSL", "AIR", "SAR")
# All eight combinations of directions of axial slices, and three of sagittal and coronal ones.
AXIAL_AND_OTHERS = ("LPS", "RAI", "SPL", "LAS", "RPS", "LPI", "RAS", "LAI", "RPI", "PIR", "LSA")
TEST_IMAGES = 2  # unlabelled, in layouts that have them


def is_phantom(dataset_dir: str | Path) -> bool:
    """Whether a data set was made up: models trained on it are for demonstration only."""
    return (Path(dataset_dir) / MARKER).is_file()


def write_phantoms(folder: str | Path, contents: dict, files: Sequence[str], write: Callable[[Path], None]) -> None:
    """Write a set of phantoms, unless the folder holds exactly this set; another set of phantoms is replaced.

    ``phantom.json`` is written last and says what the folder holds.

    Args:
        folder: made if missing.
        contents: what the voxels follow from: layout, version, number of cases, seed.
        files: what ``write`` writes, relative to the folder.
        write: writes them into the folder, where their folders exist.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    root = Path(folder)
    contents = {"demonstration only": True, **contents, "files": sorted(files)}
    marker, unfinished = root / MARKER, root / UNFINISHED
    known = next((json.loads(path.read_text()) for path in (marker, unfinished) if path.is_file()), None)
    if marker.is_file() and known == contents and all((root / name).is_file() for name in files):
        return
    if known is None and root.is_dir() and any(root.iterdir()):
        raise FileExistsError(f"{root}: holds files that are not phantoms; give a new or empty folder")
    old = known.get("files", []) if known else []
    with whole_file(unfinished) as file:  # an interrupted writer finds its own files again
        file.write_text(json.dumps({**contents, "files": sorted({*files, *old})}))
    marker.unlink(missing_ok=True)
    for name in {*old, *files}:
        (root / name).unlink(missing_ok=True)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    write(root)
    for parent in {(root / name).parent for name in old} - {root}:
        if not any(parent.iterdir()):
            parent.rmdir()
    with whole_file(marker) as file:
        file.write_text(json.dumps(contents, indent=1) + "\n")
    unfinished.unlink()


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
        for k, (name, state) in enumerate(zip(names, _seeds(seed, cases), strict=True)):
            image, label, spacing = atrium_phantom(state)
            affine = _affine(state, spacing)
            for stem, array in zip(stems, (image, label), strict=True):
                _write_nrrd(root / name / f"{stem}.nrrd", *_reoriented(array, affine, k))

    contents = {"layout": "atria2018", "version": 1, "cases": cases, "seed": seed}  # raise version with other voxels
    write_phantoms(folder, contents, [f"{name}/{stem}.nrrd" for name in names for stem in stems], write)
    return names


def write_task03_liver(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of the Decathlon's Task03_Liver: ``dataset.json`` and what it lists.

    Images are int16 (HU), labels uint8: 1 liver, 2 tumour; about one case in six has no tumour. Volumes are stored in
    turn along differently permuted and flipped axes, with the affine that says so. As in the real archive, stray
    ``._*`` files lie between the images, so that only ``dataset.json`` tells what is a case; two test images have no
    label. Case ``k`` is the same whatever the number of cases.

    Args:
        folder: as for :func:`write_phantoms`.
        cases: how many labelled patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the labelled cases.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"liver_{k}" for k in range(cases)]
    tests = [f"liver_{k}" for k in range(cases, cases + TEST_IMAGES)]
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    listing = {
        "name": "Liver",
        "description": "Liver and liver tumours of made-up patients: for demonstration only",
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
        states = [*_seeds(seed, cases), *_seeds([seed, 1], TEST_IMAGES)]
        for k, (name, state) in enumerate(zip(names + tests, states, strict=True)):
            phantom = abdomen_phantom(state)
            label = np.where(phantom.tumour, np.uint8(2), np.uint8(1) * (phantom.organs == 1))
            part = "Tr" if k < cases else "Ts"
            for kind, array in [("images", phantom.image), *([("labels", label)] if k < cases else [])]:
                stored = _reoriented(array, _affine(state, phantom.spacing), k)
                _write_nifti(root / f"{kind}{part}" / f"{name}.nii.gz", *stored)
        for stray in strays:
            (root / stray).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")  # AppleDouble's magic number
        (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")

    contents = {"layout": "task03_liver", "version": 1, "cases": cases, "seed": seed}
    write_phantoms(folder, contents, [*(path[2:] for path in volumes), *strays, "dataset.json"], write)
    return names


def write_flare21(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of FLARE 2021: ``train_images``, ``train_mask`` and two ``val_images``.

    Images are int16 (HU), masks uint8: 1 liver, 2 kidney, 3 spleen, 4 pancreas; tumours of the liver belong to it.
    Slices are 4.2 to 4.8 mm apart, pixels 2.4 to 2.7 mm wide, the scanned range is 236 to 280 mm high. Directions are
    mixed: all eight combinations of axial slices, sagittal and coronal ones, with the affine that says so. Case ``k``
    is the same whatever the number of cases.

    Args:
        folder: as for :func:`write_phantoms`.
        cases: how many labelled patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the labelled cases, which are none of FLARE's: its published folds are not theirs.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    names = [f"phantom_{k:03d}" for k in range(cases + TEST_IMAGES)]
    parts = ["train"] * cases + ["val"] * TEST_IMAGES
    images = [f"{part}_images/{name}_0000.nii.gz" for part, name in zip(parts, names, strict=True)]
    masks = [f"train_mask/{name}.nii.gz" for name in names[:cases]]

    def write(root: Path) -> None:
        states = [*_seeds(seed, cases), *_seeds([seed, 1], TEST_IMAGES)]
        for k, (image, state) in enumerate(zip(images, states, strict=True)):
            rng = np.random.default_rng(state)
            in_plane, slices = round(rng.uniform(2.4, 2.7), 2), round(rng.uniform(4.2, 4.8), 2)
            phantom = abdomen_phantom(state, spacing=(in_plane, in_plane, slices), height=rng.uniform(236, 280))
            affine = _affine(state, phantom.spacing)
            for path, array in [(image, phantom.image), *([(masks[k], phantom.organs)] if k < cases else [])]:
                _write_nifti(root / path, *_reoriented(array, affine, k, AXIAL_AND_OTHERS))

    contents = {"layout": "flare21", "version": 1, "cases": cases, "seed": seed}
    write_phantoms(folder, contents, [*images, *masks], write)
    return names[:cases]


def _seeds(seed: int | Sequence[int], cases: int) -> list[int]:
    """A seed for each case that does not depend on the number of cases."""
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(cases)]


def _affine(state: int, spacing: Sequence[float]) -> np.ndarray:
    """Voxels along LPS axes to RAS millimetres, with an origin of the case's own."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = np.random.default_rng(state).uniform(-100, 100, 3).round(3)
    return affine


def _reoriented(
    array: np.ndarray, affine: np.ndarray, k: int, orientations: Sequence[str] = ORIENTATIONS
) -> tuple[np.ndarray, np.ndarray]:
    """The same volume stored along the axes of case ``k``, and its affine (RAS millimetres)."""
    from nibabel import orientations as ornt

    codes = orientations[k % len(orientations)]
    change = ornt.ornt_transform(ornt.io_orientation(affine), ornt.axcodes2ornt(codes))
    return ornt.apply_orientation(array, change), affine @ ornt.inv_ornt_aff(change, array.shape)


def _write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) with an affine in RAS millimetres."""
    import nibabel as nib

    nib.save(nib.Nifti1Image(array, affine), path)


def _write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) with an affine in RAS millimetres as a gzip-encoded nrrd in LPS, as the challenge's files are."""
    import nrrd

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,  # a row for each array axis
        "space origin": lps[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }
    nrrd.write(str(path), np.asfortranarray(array), header, compression_level=6)
