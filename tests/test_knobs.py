"""Knobs: what each may be."""

from __future__ import annotations

import pytest
import torch

from common.engines import check_knobs, seeded

GOOD = {
    "amp": [True, False, "auto"],
    "batch_size": [1, 8],
    "channel_order": [[0], [1, 3, 2, 0]],
    "class_weights": [None, [1.0, 1.0, 3]],
    "crop": ["auto", "none"],
    "device": ["cpu", torch.device("cpu")],
    "epochs": [1],
    "flip_prob": [0, 0.5, 1.0],
    "drawn_fractions": [[], ["discriminator_accuracy"]],
    "keys": [["image"], ["image", "label"]],
    "learning_rate": [1e-4, 1],
    "mirror_axes": [[], [0, 2]],
    "pictures": [0, 10],
    "patch": [[96, 96, 96], (1, 2, 3)],
    "roi_size": [[-1, -1, -1], [64, 64, 48]],
    "seed": [0, 2**32 - 1],
    "spacing": [None, [2.0, 1.5, 1.5]],
    "window": [None, [-160, 240]],
}
BAD = {
    "amp": ["true", 1, None],
    "batch_size": [0, -1, 1.5, True, "2", None],
    "channel_order": [[1], [0, 0], 0, "0"],
    "class_weights": [[-1.0], 1.0],
    "crop": ["atrium", True, None],
    "device": ["gpu", "cuda:99", 3.5, None],
    "epochs": ["two", 0],
    "flip_prob": [-0.1, 1.1, float("nan"), "0.5"],
    "keys": [3, [], "image", ["images"]],
    "may_be_absent": [3, "tumor", [1]],
    "learning_rate": [0, -1, float("nan"), float("inf"), "1e-3"],
    "mirror_axes": [[3], 0, ["x"]],
    "pictures": [-1, True],
    "patch": [[0, 1, 1], [96, 96], 96, [-1, -1, -1]],
    "roi_size": [[0, 1, 1], [-2, 1, 1]],
    "seed": [-1, 2**32, 0.5],
    "spacing": [[0, 1, 1], [1, 1], [1, 1, float("nan")], 1.0],
    "window": [[240, -160], [0, 0], [0]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_good_value_passes(name: str, value: object) -> None:
    check_knobs(**{name: value})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
        check_knobs(**{name: value})


def test_every_wrong_value_is_in_the_one_line() -> None:
    with pytest.raises(ValueError, match=r"^epochs must be .*, got 0; amp must be .*, got 'yes'$"):
        check_knobs(epochs=0, amp="yes", batch_size=2)


def test_a_fold_beyond_the_folds_is_named() -> None:
    with pytest.raises(ValueError, match="fold must be a whole number from 0 to 4, or all, got 5"):
        check_knobs(fold=5, folds=5)


def test_the_seed_makes_random_numbers_the_same() -> None:
    drawn = []
    for _ in range(2):
        seeded(3)
        drawn.append(torch.rand(4))
    assert torch.equal(*drawn)
