"""Phantoms: small made-up patients in the file layouts that the bundles read. For demonstration only.

Example::

    python -m common.datasets phantom --layout atria2018 --folder sample_data/atria2018 --cases 12
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from common.datasets.phantom_atrium import BLOOD, paint_chest, smooth_field
from common.files import whole_file

__all__ = ["atrium_phantom", "is_phantom", "write_atria2018"]

VERSION = 1  # raise it whenever the same seed gives other voxels
MARKER = "phantom.json"
SPACING = (1.25, 1.25, 2.5)  # mm
# Axis codes say where each array axis points: the patient's Left/Right, Anterior/Posterior, Superior/Inferior.
ORIENTATIONS = ("LPS", "RAS", "LAS", "SPL", "RPI", "PSL", "AIR", "SAR")


def atrium_phantom(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A late-enhancement MR volume of a made-up chest, with its left atrium.

    The blood of all heart chambers and great vessels is about equally bright, so no threshold finds the atrium. As in
    real scans the brightness scale differs from case to case: the volume's mean lies between 6 and 75.

    Args:
        seed: the same seed gives the same voxels.

    Returns:
        image (X, Y, Z) uint8, at most 128 x 128 x 40; label (X, Y, Z) uint8, 0 or 255; spacing in mm.
        The axes point to the patient's left, back and head (LPS), as in the challenge's files.
    """
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(29, 33)) * 4, int(rng.integers(29, 33)) * 4, int(rng.integers(36, 41)))
    tissue, atrium = paint_chest(rng, shape, SPACING)
    image = _scan(rng, tissue)
    return image, np.where(atrium, np.uint8(255), np.uint8(0)), SPACING


def _scan(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Blur, texture, coil shading, Rician noise (Gudbjartsson and Patz 1995) and gain; (X, Y, Z) uint8."""
    from scipy.ndimage import gaussian_filter

    shape = tissue.shape
    signal = gaussian_filter(tissue, (0.6, 0.6, 0.35))  # partial volume
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (0.8, 0.8, 0.4))
    signal *= 1 + 0.06 * grain / grain.std()
    signal *= np.exp(0.18 * smooth_field(rng, shape, waves=3))
    sigma = BLOOD * rng.uniform(0.07, 0.13)
    real, imaginary = sigma * rng.standard_normal((2, *shape), dtype=np.float32)
    magnitude = np.hypot(signal + real, imaginary)
    gain = np.exp(rng.uniform(np.log(6), np.log(75))) / magnitude.mean()
    return np.clip(np.rint(magnitude * gain), 0, 255).astype(np.uint8)


def is_phantom(dataset_dir: str | Path) -> bool:
    """Whether a data set was made up: models trained on it are for demonstration only."""
    return (Path(dataset_dir) / MARKER).is_file()


def write_atria2018(folder: str, cases: int = 12, seed: int = 0) -> list[str]:
    """Write phantoms in the layout of the 2018 Atrial Segmentation Challenge: ``<folder>/<case>/{lgemri,laendo}.nrrd``.

    Volumes are uint8, gzip-encoded, 1.25 x 1.25 x 2.5 mm, and stored in turn along differently permuted and flipped
    axes, with the affine that says so. Nothing is done where the folder already holds exactly this set; case ``k`` is
    the same whatever the number of cases. ``phantom.json`` is written last and says what the folder holds.

    Args:
        folder: made if missing.
        cases: how many patients, at least 1.
        seed: of the whole set.

    Returns:
        The names of the case folders.

    Raises:
        FileExistsError: where the folder holds something else.
    """
    root = Path(folder)
    names = [f"phantom_{k:03d}" for k in range(cases)]
    contents = {"demonstration only": True, "layout": "atria2018", "version": VERSION, "cases": cases, "seed": seed}
    marker = root / MARKER
    if marker.is_file():
        if json.loads(marker.read_text()) == contents and all(len(list((root / n).glob("*.nrrd"))) == 2 for n in names):
            return names
        marker.unlink()  # another set of phantoms: replace it
        for old in root.glob("phantom_*/*.nrrd"):
            old.unlink()
    elif root.is_dir() and any(not p.name.startswith("phantom_") for p in root.iterdir()):
        raise FileExistsError(f"{root}: holds files that are not phantoms; give a new or empty folder")
    seeds = np.random.SeedSequence(seed).generate_state(cases)
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        image, label, spacing = atrium_phantom(int(seeds[k]))
        origin = np.random.default_rng(int(seeds[k])).uniform(-100, 100, 3).round(3)
        affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])  # LPS axes in RAS millimetres
        affine[:3, 3] = origin
        for stem, array in (("lgemri", image), ("laendo", label)):
            _write_nrrd(root / name / f"{stem}.nrrd", *_reoriented(array, affine, ORIENTATIONS[k % len(ORIENTATIONS)]))
    for empty in root.glob("phantom_*"):
        if not any(empty.iterdir()):
            empty.rmdir()
    with whole_file(marker) as file:
        file.write_text(json.dumps(contents, indent=1) + "\n")
    return names


def _reoriented(array: np.ndarray, affine: np.ndarray, axcodes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same volume stored along other axes, and its affine (RAS millimetres)."""
    from nibabel import orientations as ornt

    change = ornt.ornt_transform(ornt.io_orientation(affine), ornt.axcodes2ornt(axcodes))
    return ornt.apply_orientation(array, change), affine @ ornt.inv_ornt_aff(change, array.shape)


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
