"""Lesion-wise detection, against lesions counted by hand and components found by flooding."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from common.metrics import LesionDetection

SHAPE = (30, 30, 30)


def boxes(*corners_and_sizes: tuple[tuple[int, int, int], tuple[int, int, int]]) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:29, 1:29, 1:29] = 1  # the organ
    for corner, size in corners_and_sizes:
        labels[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))] = 2
    return labels


def rows(prediction: np.ndarray, reference: np.ndarray, spacing=(1.0, 1.0, 1.0), case: str = "a") -> list[dict]:
    return [{"case": case, **r} for r in LesionDetection(2).per_case(prediction, reference, spacing=spacing)]


def scores(prediction: np.ndarray, reference: np.ndarray, **kwargs) -> tuple[dict, dict]:
    """Over lesions of all sizes: strict, lenient."""
    summary = LesionDetection(2).summary(rows(prediction, reference, **kwargs))
    return summary["iou_above_0.5"]["all"], summary["any_overlap"]["all"]


def flooded(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Components with 26 neighbors, found voxel by voxel."""
    left = {tuple(int(i) for i in v) for v in np.argwhere(mask)}
    found = []
    while left:
        component, border = set(), [left.pop()]
        while border:
            voxel = border.pop()
            component.add(voxel)
            near = {tuple(v + d for v, d in zip(voxel, step, strict=True)) for step in product((-1, 0, 1), repeat=3)}
            border += near & left
            left -= near
        found.append(component)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_lesions_and_their_overlaps_are_those_found_by_flooding(seed):
    rng = np.random.default_rng(seed)
    prediction, reference = (np.where(rng.random((12, 10, 9)) < share, 2, 0) for share in (0.06, 0.05))
    reference[2:5, 2:6, 2:5] = prediction[3:5, 2:6, 2:5] = 2
    found = rows(prediction, reference, spacing=(2.0, 1.0, 0.5))
    components = {"prediction": flooded(prediction == 2), "reference": flooded(reference == 2)}
    for source, other in (("prediction", "reference"), ("reference", "prediction")):
        expected = sorted(
            (float(len(c)), max(len(c & o) / len(c | o) for o in components[other])) for c in components[source]
        )
        own = sorted((row["volume_mm3"], row["best_iou"]) for row in found if row["source"] == source)
        np.testing.assert_allclose(own, expected)


def test_lesions_that_touch_at_a_corner_are_one():
    assert len(rows(boxes(), boxes(((2, 2, 2), (3, 3, 3)), ((5, 5, 5), (3, 3, 3))))) == 1


def test_an_iou_of_one_half_is_not_enough():
    # 4 of 8 layers: IoU 4 / 8; 5 of 8 layers: 5 / 8
    reference = boxes(((2, 2, 2), (8, 4, 4)), ((15, 15, 15), (8, 4, 4)))
    prediction = boxes(((2, 2, 2), (4, 4, 4)), ((15, 15, 15), (5, 4, 4)))
    strict, lenient = scores(prediction, reference)
    assert (strict["recall"], strict["precision"], strict["f1"]) == (0.5, 0.5, 0.5)
    assert (lenient["recall"], lenient["precision"]) == (1.0, 1.0)


def test_one_voxel_in_common_is_enough_for_the_lenient_variant_and_a_neighbor_is_not():
    reference = boxes(((2, 2, 2), (4, 4, 4)), ((15, 15, 15), (4, 4, 4)))
    prediction = boxes(((5, 5, 5), (4, 4, 4)), ((19, 15, 15), (4, 4, 4)))
    _, lenient = scores(prediction, reference)
    assert (lenient["n_reference_found"], lenient["n_prediction_true"]) == (1, 1)


def test_a_prediction_that_joins_two_lesions_finds_both_and_is_one_prediction():
    reference = boxes(((2, 2, 2), (4, 4, 4)), ((8, 2, 2), (4, 4, 4)))
    _, lenient = scores(boxes(((2, 2, 2), (10, 4, 4))), reference)
    assert (lenient["recall"], lenient["n_reference"]) == (1.0, 2)
    assert (lenient["precision"], lenient["n_prediction"]) == (1.0, 1)


def test_recall_and_precision_are_pooled_over_the_cases():
    lesion, elsewhere = ((2, 2, 2), (4, 4, 4)), ((20, 20, 20), (4, 4, 4))
    more = ((2, 20, 2), (4, 4, 4))
    pooled = rows(boxes(lesion), boxes(lesion), case="a") + rows(boxes(elsewhere), boxes(lesion, more), case="b")
    strict = LesionDetection(2).summary(pooled)["iou_above_0.5"]["all"]
    assert (strict["recall"], strict["precision"]) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert strict["f1"] == pytest.approx(2 / 5)  # 2 TP / (lesions + predictions)


def test_the_diameter_is_that_of_the_sphere_of_equal_volume_in_mm():
    grid = np.ogrid[:30, :30, :30]
    sphere = sum(((x - 14.5) * s) ** 2 for x, s in zip(grid, (2.0, 1.0, 1.0), strict=True)) <= 12.0**2
    (row,) = rows(boxes(), np.where(sphere, 2, 0), spacing=(2.0, 1.0, 1.0))
    assert row["diameter_mm"] == pytest.approx(24.0, rel=0.01)


@pytest.mark.parametrize(
    ("side", "size"), [(7, "below_10_mm"), (9, "10_to_20_mm"), (15, "10_to_20_mm"), (17, "above_20_mm")]
)
def test_lesions_are_counted_by_their_diameter(side, size):
    # cubes: the sphere of equal volume has 1.2407 times the side
    summary = LesionDetection(2).summary(rows(boxes(((2, 2, 2), (side, side, side))), boxes()))
    counted = {name: values["n_prediction"] for name, values in summary["any_overlap"].items()}
    assert counted == {"all": 1, "below_10_mm": 0, "10_to_20_mm": 0, "above_20_mm": 0, size: 1}
    assert math.cbrt(6 / math.pi) == pytest.approx(1.2407, abs=1e-4)


@pytest.mark.parametrize(("diameter", "size"), [(10.0, "10_to_20_mm"), (20.0, "10_to_20_mm"), (20.1, "above_20_mm")])
def test_ten_and_twenty_millimeters_belong_to_the_middle(diameter, size):
    row = {"source": "reference", "diameter_mm": diameter, "best_iou": 0.0, "overlaps": False}
    summary = LesionDetection(2).summary([row])["any_overlap"]
    assert [name for name, values in summary.items() if values["n_reference"]] == ["all", size]


def test_a_healthy_case_without_false_alarms_adds_nothing():
    assert rows(boxes(), boxes()) == []


def test_without_lesions_there_is_no_share_to_speak_of():
    strict, _ = scores(boxes(), boxes())
    assert (strict["recall"], strict["precision"], strict["f1"]) == (None, None, None)


def test_false_alarms_alone_have_an_f1_of_zero_and_no_recall():
    strict, _ = scores(boxes(((2, 2, 2), (3, 3, 3))), boxes())
    assert (strict["recall"], strict["precision"], strict["f1"]) == (None, 0.0, 0.0)
