"""The score on drawn points: by hand for all-or-nothing masks, and against the Dice of all voxels."""

from __future__ import annotations

import numpy as np
import pytest

from common.metrics import PointSetOverlap
from common.transforms.borders import border_map

SHAPE = (40, 40, 40)
ISOTROPIC = (1.0, 1.0, 1.0)


def ball(radius: float, center: float = 20, *, side: int = 40) -> np.ndarray:
    z, y, x = np.indices((side,) * 3)
    return ((z - center) ** 2 + (y - side // 2) ** 2 + (x - side // 2) ** 2 < radius**2).astype(np.uint8)


def row(prediction: np.ndarray, reference: np.ndarray, **options: float) -> dict:
    measure = PointSetOverlap(labels={"ball": 1}, points=2**15, **options)
    (only,) = measure.per_case(prediction, reference, spacing=ISOTROPIC)
    assert only.pop("structure") == "ball"
    return only


def test_points_from_everywhere_estimate_the_overlap_of_all_voxels() -> None:
    prediction, reference = ball(12, 22), ball(12)
    both, size = int((prediction & reference).sum()), int(prediction.sum() + reference.sum())
    found = row(prediction, reference)
    assert found["point_dice"] == pytest.approx(2 * both / size, abs=0.02)
    assert found["point_iou"] == pytest.approx(both / (size - both), abs=0.02)
    assert found["occupied"] / 2**15 == pytest.approx(reference.mean(), abs=0.01)


def test_points_near_the_surface_score_less_where_only_the_surface_is_wrong() -> None:
    """Radii 27 and 30, and a band of about 6 voxels around the latter."""
    balls = (ball(27, 36, side=72), ball(30, 36, side=72))
    everywhere, near = (row(*balls, border_fraction=share)["point_dice"] for share in (0.0, 1.0))
    assert everywhere == pytest.approx(2 * 27**3 / (27**3 + 30**3), abs=0.02)
    assert near < 0.8


def test_the_share_from_the_border_comes_from_the_border() -> None:
    reference = ball(4)
    band = border_map(reference) > 0
    drawn = PointSetOverlap(labels={"ball": 1}, points=1000, border_fraction=0.4)._draw(reference)
    assert len(drawn) == 1000
    assert band.reshape(-1)[drawn[:400]].all() and len(set(drawn[:400])) == 400


def test_a_border_smaller_than_its_share_is_taken_whole() -> None:
    reference = np.zeros(SHAPE, np.uint8)
    reference[20, 20, 20] = 1
    band = np.flatnonzero(border_map(reference))
    drawn = PointSetOverlap(labels={"ball": 1}, points=2**15, border_fraction=0.4)._draw(reference)
    assert len(drawn) == 2**15
    assert (drawn[: len(band)] == band).all()


def test_equal_masks_score_one_and_two_empty_ones_zero_as_the_authors_do() -> None:
    assert row(ball(8), ball(8))["point_dice"] == pytest.approx(1)
    assert row(ball(0), ball(0)) == {"point_dice": 0.0, "point_iou": 0.0, "occupied": 0}


def test_every_structure_and_region_has_a_row_of_its_own() -> None:
    inner, outer = ball(6), ball(12)
    measure = PointSetOverlap(labels={"whole": [1, 4], "core": 4}, points=2**15)
    rows = measure.per_case(outer + 3 * ball(9) * outer, outer + 3 * inner, spacing=ISOTROPIC)
    assert [row["structure"] for row in rows] == ["whole", "core"]
    assert rows[0]["point_dice"] == pytest.approx(1)
    assert rows[1]["point_dice"] == pytest.approx(2 * 6**3 / (6**3 + 9**3), abs=0.05)


def test_the_summary_is_the_mean_over_the_cases_and_says_how_points_were_drawn() -> None:
    measure = PointSetOverlap(labels={"ball": 1, "cube": 2}, points=100, border_fraction=0.4)
    scores = [(1.0, 1.0), (0.5, 1 / 3)]
    rows = [{"structure": "ball", "point_dice": dice, "point_iou": iou} for dice, iou in scores]
    summary = measure.summary([*rows, {"structure": "cube", "point_dice": 0.25, "point_iou": 1 / 7}])
    assert summary["ball"] == pytest.approx({"dice": 0.75, "iou": 2 / 3, "n": 2})
    assert summary["cube"]["dice"] == 0.25 and (summary["points"], summary["border_fraction"]) == (100, 0.4)
    assert measure.summary([])["ball"]["dice"] is None


def test_the_same_points_are_drawn_every_time() -> None:
    assert row(ball(9, 22), ball(9)) == row(ball(9, 22), ball(9))
