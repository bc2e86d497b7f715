"""How phantoms come into a folder: whole sets, marked as made up, along mixed axes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.datasets.demonstration import PHANTOM_MARKER
from common.files import whole_file

__all__ = [
    "case_affine",
    "case_seeds",
    "reoriented",
    "write_nifti",
    "write_nrrd",
    "write_phantoms",
]

UNFINISHED = "phantom_unfinished.json"
# Axis codes say where each array axis points: the patient's Left/Right, Anterior/Posterior, Superior/Inferior.
ORIENTATIONS = ("LPS", "RAS", "LAS", "SPL", "RPI", "PSL", "AIR", "SAR")


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
    root = Path(os.path.abspath(folder))  # a/../b is b, also where there is no a yet
    contents = {"demonstration only": True, **contents, "files": sorted(files)}
    marker, unfinished = root / PHANTOM_MARKER, root / UNFINISHED
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


def case_seeds(seed: int | Sequence[int], cases: int) -> list[int]:
    """A seed for each case that does not depend on the number of cases."""
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(cases)]


def case_affine(state: int, spacing: Sequence[float]) -> np.ndarray:
    """Voxels along LPS axes to RAS millimeters, with an origin of the case's own."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = np.random.default_rng(state).uniform(-100, 100, 3).round(3)
    return affine


def reoriented(
    array: np.ndarray, affine: np.ndarray, k: int, orientations: Sequence[str] = ORIENTATIONS
) -> tuple[np.ndarray, np.ndarray]:
    """The same volume, (X, Y, Z) or (X, Y, Z, channels), along the axes of case ``k``, and its affine (RAS mm)."""
    from nibabel import orientations as ornt

    codes = orientations[k % len(orientations)]
    change = ornt.ornt_transform(ornt.io_orientation(affine), ornt.axcodes2ornt(codes))
    return ornt.apply_orientation(array, change), affine @ ornt.inv_ornt_aff(change, array.shape[:3])


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) or (X, Y, Z, channels) with an affine in RAS millimeters."""
    import nibabel as nib

    nib.save(nib.Nifti1Image(array, affine), path)


def write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) with an affine in RAS millimeters as a gzip-encoded nrrd in LPS, as the challenge's files are."""
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
