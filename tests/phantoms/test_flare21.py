"""The made-up abdomens as FLARE 2021: mixed directions, and organs that survive the published size limits."""

from __future__ import annotations

from itertools import product

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass, label

from common.datasets import flare21_datalist, inference_cases, training_cases
from common.phantoms import WRITERS, abdomen_phantom, write_flare21
from common.phantoms.abdomen import AbdomenPhantom

LIVER, KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4
KEPT = {LIVER: 1, KIDNEY: 2, SPLEEN: 1, PANCREAS: 1}  # components, and the larger of the two limits in mm³: section 9.1
LIMIT_MM3 = 2000
CASES = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three patients."""
    path = tmp_path_factory.mktemp("phantoms") / "FLARE21"
    write_flare21(str(path), cases=3, seed=0)
    return path


@pytest.fixture(scope="module")
def directions(tmp_path_factory):
    """One patient in the directions of eleven cases: where it does not matter which, this is quicker."""
    path = tmp_path_factory.mktemp("directions") / "FLARE21"
    patient = abdomen_phantom(0, spacing=(5.0, 5.0, 5.0), height=260)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.phantoms.data_sets.abdomen_phantom", lambda seed, **_: patient)
        write_flare21(str(path), cases=CASES, seed=0)
    return path


def test_training_reads_the_phantoms_as_it_reads_flare(folder, tmp_path):
    cases = training_cases("flare21", folder, label_values=[0, 1, 2, 3, 4], cache_dir=tmp_path)
    assert [case["case"] for case in cases] == ["phantom_000", "phantom_001", "phantom_002"]


def test_prediction_takes_the_two_validation_images(folder, tmp_path):
    assert [case["case"] for case in inference_cases(folder, tmp_path)] == ["phantom_003", "phantom_004"]


def test_axial_slices_have_all_eight_combinations_of_directions_and_some_cases_others(directions):
    codes = {"".join(nib.aff2axcodes(nib.load(item["image"]).affine)) for item in flare21_datalist(directions)}
    assert {"".join(code) for code in product("LR", "PA", "SI")} < codes
    assert len({code for code in codes if code[2] not in "SI"}) == 3


def test_affines_are_right_in_every_direction(directions):
    for item in flare21_datalist(directions):
        mask = nib.load(item["label"])
        centers = center_of_mass(np.ones(mask.shape), np.asarray(mask.dataobj), [LIVER, KIDNEY, SPLEEN])
        liver, kidney, spleen = (mask.affine @ [*center, 1] for center in centers)  # mm, RAS
        assert liver[0] > spleen[0] + 40  # to the right of the spleen, before and above the kidneys
        assert liver[1] > kidney[1] and liver[2] > kidney[2]


def test_voxels_are_anisotropic_and_the_range_is_that_of_an_abdomen(folder):
    for item in flare21_datalist(folder):
        image = nib.as_closest_canonical(nib.load(item["image"]))
        x, y, z = image.header.get_zooms()
        assert x == y and 1.5 < z / x < 2.1
        assert 230 < image.shape[2] * z < 290


def test_each_organ_is_as_many_components_as_are_kept_all_above_the_limits(folder):
    for item in flare21_datalist(folder):
        mask = nib.load(item["label"])
        organs = np.asarray(mask.dataobj)
        voxel = abs(np.linalg.det(mask.affine[:3, :3]))
        for organ, kept in KEPT.items():
            parts, _ = label(organs == organ, np.ones((3, 3, 3)))
            sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1] * voxel
            assert sizes[kept - 1] > 10 * LIMIT_MM3
            assert sizes[kept:].sum() < LIMIT_MM3


def test_organs_stand_out_as_in_a_portal_venous_scan(folder):
    for item in flare21_datalist(folder):
        image, organs = (np.asarray(nib.load(item[key]).dataobj) for key in ("image", "label"))
        liver, kidney, spleen, pancreas = (np.median(image[organs == organ]) for organ in range(1, 5))
        assert kidney > max(liver, spleen, pancreas)
        assert 50 < pancreas < 130 and 50 < liver < 130 and 50 < spleen < 150 and kidney < 220  # HU


def test_a_larger_set_starts_with_the_smaller_one(tmp_path, monkeypatch):
    def small(seed: int, *, spacing: tuple, height: float) -> AbdomenPhantom:
        """Eight voxels that tell which patient they are."""
        voxels = np.random.default_rng([seed, int(height)]).integers(0, 99, (2, 2, 2)).astype(np.int16)
        return AbdomenPhantom(voxels, voxels.astype(np.uint8), voxels > 0, spacing)

    monkeypatch.setattr("common.phantoms.data_sets.abdomen_phantom", small)
    for cases in (2, 5):
        assert WRITERS["flare21"](str(tmp_path / str(cases)), cases, 3)[-1] == f"phantom_{cases - 1:03d}"
    first, same = (nib.load(tmp_path / f"{cases}/train_mask/phantom_001.nii.gz") for cases in (2, 5))
    assert np.array_equal(first.dataobj, same.dataobj) and np.array_equal(first.affine, same.affine)
    other = nib.load(tmp_path / "5/train_mask/phantom_002.nii.gz")
    assert not np.array_equal(first.dataobj, other.dataobj)
