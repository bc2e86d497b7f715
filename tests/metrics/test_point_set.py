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
    (only,) = PointSetOverlap(points=2**15, **options).per_case(prediction, reference, spacing=ISOTROPIC)
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
    drawn = PointSetOverlap(points=1000, border_fraction=0.4)._draw(reference)
    assert len(drawn) == 1000
    assert band.reshape(-1)[drawn[:400]].all() and len(set(drawn[:400])) == 400


def test_a_border_smaller_than_its_share_is_taken_whole() -> None:
    reference = np.zeros(SHAPE, np.uint8)
    reference[20, 20, 20] = 1
    band = np.flatnonzero(border_map(reference))
    drawn = PointSetOverlap(points=2**15, border_fraction=0.4)._draw(reference)
    assert len(drawn) == 2**15
    assert (drawn[: len(band)] == band).all()


def test_equal_masks_score_one_and_two_empty_ones_zero_as_the_authors_do() -> None:
    assert row(ball(8), ball(8))["point_dice"] == pytest.approx(1)
    assert row(ball(0), ball(0)) == {"point_dice": 0.0, "point_iou": 0.0, "occupied": 0}


def test_any_value_but_0_is_the_structure() -> None:
    assert row(ball(8), 4 * ball(8))["point_iou"] == pytest.approx(1)


def test_the_summary_is_the_mean_over_the_cases_and_says_how_points_were_drawn() -> None:
    measure = PointSetOverlap(points=100, border_fraction=0.4)
    rows = [{"point_dice": 1.0, "point_iou": 1.0}, {"point_dice": 0.5, "point_iou": 1 / 3}]
    assert measure.summary(rows) == pytest.approx(
        {"dice": 0.75, "iou": 2 / 3, "n": 2, "points": 100, "border_fraction": 0.4}
    )
    assert measure.summary([])["dice"] is None


def test_the_same_points_are_drawn_every_time() -> None:
    assert row(ball(9, 22), ball(9)) == row(ball(9, 22), ball(9))
