"""The fraction of the liver that tumor takes, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.metrics import Burden

BURDEN = Burden(2, [1, 2])


def labels(liver: int, tumor: int) -> np.ndarray:
    """So many voxels of each, of 100."""
    return np.repeat([1, 2, 0], [liver, tumor, 100 - liver - tumor]).reshape(4, 5, 5)


def row(prediction: np.ndarray, reference: np.ndarray) -> dict:
    (only,) = BURDEN.per_case(prediction, reference, spacing=(1.0, 1.0, 1.0))
    return only


def test_tumor_is_part_of_the_liver_it_is_a_share_of():
    measured = row(labels(30, 10), labels(40, 40))
    assert (measured["burden_prediction"], measured["burden_reference"]) == (0.25, 0.5)
    assert measured["burden_error"] == -0.25


def test_the_root_mean_square_error_is_taken_over_the_cases():
    pairs = [(labels(30, 10), labels(40, 40)), (labels(40, 40), labels(60, 20))]  # errors -0.25 and +0.25
    summary = BURDEN.summary([row(*pair) for pair in [*pairs, (labels(50, 50), labels(50, 50))]])
    assert summary["rmse"] == pytest.approx(math.sqrt(2 * 0.0625 / 3))
    assert summary["mean_absolute_error"] == pytest.approx(0.5 / 3)
    assert (summary["bias"], summary["max_absolute_error"], summary["n"]) == (0.0, 0.25, 3)


def test_a_case_in_which_no_liver_was_found_is_counted_apart():
    missed = row(labels(0, 0), labels(50, 50))
    assert math.isnan(missed["burden_error"])
    summary = BURDEN.summary([missed, row(labels(50, 50), labels(50, 50))])
    assert (summary["rmse"], summary["n"], summary["n_missed"]) == (0.0, 1, 1)


def test_of_no_case_there_is_no_error():
    assert BURDEN.summary([])["rmse"] is None
