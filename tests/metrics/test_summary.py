"""Statistics over a cohort."""

from __future__ import annotations

import math

import pytest

from common.metrics import summarise


def rows(*values: tuple[float, float], structure: str = "liver") -> list[dict]:
    return [{"case": str(i), "structure": structure, "dice": d, "hd_mm": h} for i, (d, h) in enumerate(values)]


def test_statistics_are_those_worked_out_by_hand():
    dice = summarise(rows((0.5, 1.0), (0.7, 2.0), (0.9, 6.0)))["liver"]["dice"]
    expected = {"mean": 0.7, "sd": 0.2, "median": 0.7, "min": 0.5, "max": 0.9, "n": 3, "n_missed": 0}
    assert dice == pytest.approx(expected)


def test_infinite_distances_are_counted_as_missed_beside_the_mean_of_the_others():
    distance = summarise(rows((0.0, math.inf), (0.8, 2.0), (0.9, 4.0)))["liver"]["hd_mm"]
    assert (distance["mean"], distance["n"], distance["n_missed"]) == (3.0, 2, 1)


def test_the_dice_of_a_missed_structure_stays_in_the_mean():
    dice = summarise(rows((0.0, math.inf), (0.8, 2.0)))["liver"]["dice"]
    assert (dice["mean"], dice["n"], dice["n_missed"]) == (0.4, 2, 0)


def test_a_structure_missed_in_every_case_has_no_mean_distance():
    distance = summarise(rows((0.0, math.inf)))["liver"]["hd_mm"]
    assert (distance["mean"], distance["max"], distance["n"], distance["n_missed"]) == (None, None, 0, 1)


def test_structures_are_summarised_apart():
    summary = summarise(rows((0.5, 1.0)) + rows((0.9, 3.0), structure="tumour"))
    assert (summary["liver"]["dice"]["mean"], summary["tumour"]["dice"]["mean"]) == (0.5, 0.9)


def test_the_deviation_of_one_case_is_unknown():
    assert summarise(rows((0.5, 1.0)))["liver"]["dice"]["sd"] is None
