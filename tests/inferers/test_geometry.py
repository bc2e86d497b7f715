"""A structure stays where it is in the patient: from the file, through both grids, to the file that is written."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from tests.volumes import AFFINE, SHAPE, VOXEL, center, predict, read, scan, write

ORIENTATIONS = [np.c_[axes, signs] for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
STRAIGHT = np.diag([*VOXEL, 1.0])


def predicted(
    folder: Path, suffix: str, orientations: list[np.ndarray], affine: np.ndarray, spacing: tuple[float, ...] | None
) -> list[tuple[Path, Path]]:
    """One phantom, its axes stored in other orders and directions while the patient stays; and the predictions."""
    (folder / "in").mkdir()
    for n, orientation in enumerate(orientations):
        stored = apply_orientation(scan(), orientation)
        write(folder / f"in/a{n:02d}{suffix}", stored, affine @ inv_ornt_aff(orientation, SHAPE))
    assert predict(folder / "in", folder / "out", spacing=spacing) == {}
    images = sorted((folder / "in").iterdir())
    assert len(images) == len(orientations)
    return [(image, folder / "out" / image.name.replace(suffix, f"_seg{suffix}")) for image in images]


def test_there_are_48_orientations() -> None:
    assert len({orientation.tobytes() for orientation in ORIENTATIONS}) == 48


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize(
    ("affine", "orientations"), [(AFFINE, ORIENTATIONS), (STRAIGHT, ORIENTATIONS[::7])], ids=["oblique", "straight"]
)
def test_structure_is_written_where_it_is_in_the_patient_from_every_orientation(
    tmp_path: Path, suffix: str, affine: np.ndarray, orientations: list[np.ndarray]
) -> None:
    expected = center(scan(), affine)
    for image, prediction in predicted(tmp_path, suffix, orientations, affine, (1.0, 1.0, 1.0)):
        (given, given_affine), (array, found) = read(image), read(prediction)
        assert array.shape == given.shape
        np.testing.assert_allclose(found, given_affine, atol=1e-4)
        assert np.linalg.norm(center(array, found) - expected) < 0.5 * VOXEL.min(), image.name


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_without_resampling_every_voxel_comes_back_to_its_place(tmp_path: Path, suffix: str) -> None:
    for image, prediction in predicted(tmp_path, suffix, ORIENTATIONS[5::17], AFFINE, None):
        np.testing.assert_array_equal(read(prediction)[0], np.where(read(image)[0] > 100, 255, 0))
