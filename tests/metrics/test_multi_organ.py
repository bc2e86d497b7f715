"""Dice and surface Dice of several organs as FLARE 2021 computes them."""

from __future__ import annotations

import numpy as np
import pytest

from common.metrics import case_metrics
from common.phantoms import abdomen_phantom

ORGANS = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
TOLERANCE_MM = 1.0  # of all four organs
SPACING = (3.2, 2.6, 4.5)


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return abdomen_phantom(0, spacing=SPACING, height=234).organs


@pytest.fixture(scope="module")
def prediction(reference) -> np.ndarray:
    """Each organ shifted by a voxel along another axis; the pancreas goes over the others, as it does in the filter."""
    shifted = np.zeros_like(reference)
    for organ, axis in ((1, 0), (2, 1), (3, 2), (4, 0)):
        shifted[np.roll(reference == organ, 1, axis)] = organ
    return shifted


def rows(prediction: np.ndarray, reference: np.ndarray) -> dict[str, dict]:
    found = case_metrics(prediction, reference, spacing=SPACING, labels=ORGANS, tolerance_mm=TOLERANCE_MM)
    return {row["structure"]: row for row in found}


@pytest.mark.parametrize("organ", ORGANS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dice_and_surface_dice_are_those_of_the_surface_distance_package(organ, prediction, reference):
    oracle = pytest.importorskip("surface_distance")
    pair = reference == ORGANS[organ], prediction == ORGANS[organ]
    surfaces = oracle.compute_surface_distances(*(np.pad(mask, 2) for mask in pair), SPACING)
    row = rows(prediction, reference)[organ]
    assert row["dice"] == pytest.approx(oracle.compute_dice_coefficient(*pair))
    assert row["nsd"] == pytest.approx(oracle.compute_surface_dice_at_tolerance(surfaces, TOLERANCE_MM), rel=1e-5)
    assert 0.1 < row["nsd"] < 0.9  # so that the comparison says something


def test_an_organ_that_neither_holds_counts_as_agreement(reference):
    without = np.where(reference == 3, 0, reference)
    found = rows(without, without)
    assert (found["spleen"]["dice"], found["spleen"]["nsd"]) == (1.0, 1.0)


@pytest.mark.parametrize("holder", ["prediction", "reference"])
def test_an_organ_that_only_one_of_the_two_holds_counts_nothing(reference, holder):
    pair = {"prediction": np.where(reference == 3, 0, reference), "reference": np.where(reference == 3, 0, reference)}
    pair[holder] = reference
    found = rows(**pair)
    assert (found["spleen"]["dice"], found["spleen"]["nsd"]) == (0.0, 0.0)
    assert (found["liver"]["dice"], found["liver"]["nsd"]) == (1.0, 1.0)
