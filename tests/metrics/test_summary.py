"""Statistics over a cohort."""

from __future__ import annotations

import math

import pytest

from common.metrics import absent_references, pooled_overlap, summarize


def rows(*values: tuple[float, float], structure: str = "liver") -> list[dict]:
    return [{"case": str(i), "structure": structure, "dice": d, "hd_mm": h} for i, (d, h) in enumerate(values)]


def test_statistics_are_those_worked_out_by_hand():
    dice = summarize(rows((0.5, 1.0), (0.7, 2.0), (0.9, 6.0)))["liver"]["dice"]
    expected = {"mean": 0.7, "sd": 0.2, "median": 0.7, "min": 0.5, "max": 0.9, "n": 3, "n_missed": 0}
    assert dice == pytest.approx(expected)


def test_infinite_distances_are_counted_as_missed_beside_the_mean_of_the_others():
    distance = summarize(rows((0.0, math.inf), (0.8, 2.0), (0.9, 4.0)))["liver"]["hd_mm"]
    assert (distance["mean"], distance["n"], distance["n_missed"]) == (3.0, 2, 1)


def test_the_dice_of_a_missed_structure_stays_in_the_mean():
    dice = summarize(rows((0.0, math.inf), (0.8, 2.0)))["liver"]["dice"]
    assert (dice["mean"], dice["n"], dice["n_missed"]) == (0.4, 2, 0)


def test_a_structure_missed_in_every_case_has_no_mean_distance():
    distance = summarize(rows((0.0, math.inf)))["liver"]["hd_mm"]
    assert (distance["mean"], distance["max"], distance["n"], distance["n_missed"]) == (None, None, 0, 1)


def test_structures_are_summarized_apart():
    summary = summarize(rows((0.5, 1.0)) + rows((0.9, 3.0), structure="tumor"))
    assert (summary["liver"]["dice"]["mean"], summary["tumor"]["dice"]["mean"]) == (0.5, 0.9)


def test_the_deviation_of_one_case_is_unknown():
    assert summarize(rows((0.5, 1.0)))["liver"]["dice"]["sd"] is None


def counts(prediction: int, reference: int, both: int, *, structure: str = "tumor") -> dict:
    """The row of one case, from numbers of voxels of 2 mm³."""
    size = prediction + reference
    return {
        "structure": structure,
        "dice": 2 * both / size if size else 1.0,
        "voxels_prediction": prediction,
        "voxels_reference": reference,
        "voxels_both": both,
        "volume_prediction_mm3": 2.0 * prediction,
    }


# found by half; missed; healthy and left alone; healthy with a false alarm of 8 and one of 12 voxels
COHORT = [counts(10, 10, 5), counts(0, 10, 0), counts(0, 0, 0), counts(8, 0, 0), counts(12, 0, 0)]


def test_what_may_be_absent_is_averaged_over_the_cases_that_have_it():
    dice = summarize(COHORT, may_be_absent=["tumor"])["tumor"]["dice"]
    assert (dice["mean"], dice["n"]) == (0.25, 2)  # of 0.5 and 0


def test_what_must_be_there_is_averaged_over_all_cases():
    dice = summarize(COHORT, may_be_absent=["other"])["tumor"]["dice"]
    assert (dice["mean"], dice["n"]) == (pytest.approx(1.5 / 5), 5)


def test_a_cohort_of_healthy_cases_has_no_mean():
    dice = summarize(COHORT[2:], may_be_absent=["tumor"])["tumor"]["dice"]
    assert (dice["mean"], dice["n"]) == (None, 0)


def test_false_alarms_in_healthy_cases_are_counted_and_measured():
    absent = absent_references(COHORT, ["tumor"])["tumor"]
    assert (absent["n_absent"], absent["n_false_positive"]) == (3, 2)
    assert absent["false_positive_volume_mm3"]["mean"] == 20.0  # of 16 and 24 mm³


def test_with_healthy_cases_counted_an_empty_prediction_scores_one_and_a_false_alarm_nothing():
    dice = absent_references(COHORT, ["tumor"])["tumor"]["dice_absent_counted"]
    assert (dice["mean"], dice["n"]) == (pytest.approx((0.5 + 0 + 1 + 0 + 0) / 5), 5)


def test_only_what_may_be_absent_is_reported_so():
    assert absent_references(COHORT, ["other"]) == {}


def test_pooled_overlap_takes_all_voxels_of_the_cohort_as_one():
    pooled = pooled_overlap([*COHORT, counts(100, 120, 90, structure="liver")])
    assert pooled["tumor"]["global_dice"] == pytest.approx(2 * 5 / (30 + 20))
    assert pooled["tumor"]["global_iou"] == pytest.approx(5 / 45)
    assert pooled["liver"]["global_dice"] == pytest.approx(180 / 220)


def test_pooled_overlap_of_nothing_with_nothing_is_perfect():
    assert pooled_overlap([counts(0, 0, 0)])["tumor"] == {"global_dice": 1.0, "global_iou": 1.0}
