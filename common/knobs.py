"""What a person may set at the top of a config or on the command line: every value is checked at the start."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

__all__ = ["check_knobs", "seeded", "wrong_values"]

Rule = tuple[str, Callable[[Any], bool]]  # what is expected, and whether a value is that


def check_knobs(**knobs: Any) -> None:
    """Check the values of knobs by their names, which mean the same in every bundle.

    Args:
        knobs: name -> value.

    Raises:
        ValueError: one line that names every wrong value, what was expected and what was given.
        TypeError: for a knob that has no rule.
    """
    if unknown := [name for name in knobs if name not in RULES]:
        raise TypeError(f"no rule for {', '.join(unknown)}")
    faults = wrong_values(knobs)
    fold = knobs.get("fold", "all")
    if "folds" in knobs and not faults and fold != "all" and fold >= knobs["folds"]:
        faults = [f"fold must be a whole number from 0 to {knobs['folds'] - 1}, or all, got {fold}"]
    if faults:
        raise ValueError("; ".join(faults))


def wrong_values(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with values that have a rule of their name, one text each; others are left out."""
    known = {name: value for name, value in values.items() if name in RULES}
    return [
        f"{name} must be {RULES[name][0]}, got {value!r}" for name, value in known.items() if not _holds(name, value)
    ]


def seeded(seed: int) -> int:
    """Seed Python, NumPy and torch, and make them deterministic; the seed.

    Raises:
        ValueError: if ``seed`` is no whole number from 0 to 2**32 - 1.
    """
    from monai.utils import set_determinism

    check_knobs(seed=seed)
    set_determinism(seed)
    return seed


def _holds(name: str, value: Any) -> bool:
    try:
        return bool(RULES[name][1](value))
    except (AttributeError, TypeError, ValueError, RuntimeError, re.error):
        return False


def _is_whole(value: Any, least: float = -np.inf, most: float = np.inf) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(value))


def _is_list(value: Any, of: Callable[[Any], bool], length: int | None = None) -> bool:
    return isinstance(value, list | tuple) and length in (None, len(value)) and all(map(of, value))


def _whole(least: int, most: float = np.inf) -> Rule:
    text = f"a whole number of at least {least}" if most == np.inf else f"a whole number from {least} to {most}"
    return text, lambda value: _is_whole(value, least, most)


def _number(*, above: float | None = None, least: float | None = None, most: float = np.inf) -> Rule:
    low = f"above {above:g}" if above is not None else f"of at least {least:g}"
    text = f"a number {low}" if most == np.inf else f"a number from {least:g} to {most:g}"

    def holds(value: Any) -> bool:
        return _is_number(value) and value <= most and (value > above if above is not None else value >= least)

    return text, holds


def _one_of(*choices: Any) -> Rule:
    return f"one of {', '.join(map(str, choices))}", lambda value: isinstance(value, str) and value in choices


def _or_none(rule: Rule) -> Rule:
    return f"{rule[0]}, or None", lambda value: value is None or rule[1](value)


def _sizes(least: int = 1) -> Rule:
    text = "three whole numbers of at least 1"
    text += " (or -1: the whole volume)" if least < 0 else ""
    return text, lambda value: _is_list(value, lambda n: _is_whole(n, least) and n != 0, 3)


def _is_device(value: Any) -> bool:
    device = torch.device(value)
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or getattr(torch, device.type).is_available()


BOOLEAN: Rule = ("True or False (capitalized)", lambda value: value is True or value is False)
FRACTION = _number(least=0, most=1)
MILLIMETERS: Rule = (
    "three voxel sides above 0 in mm",
    lambda value: _is_list(value, lambda side: _is_number(side) and side > 0, 3),
)
RANGE: Rule = (
    "two numbers, the lower one first",
    lambda value: _is_list(value, _is_number, 2) and value[0] < value[1],
)
TEXT_LIST: Rule = ("a list of names", lambda value: _is_list(value, lambda name: isinstance(name, str) and bool(name)))
WHOLE_LIST: Rule = ("a list of whole numbers", lambda value: _is_list(value, _is_whole))

RULES: dict[str, Rule] = {
    "accuracy_threshold": _or_none(FRACTION),
    "adam_epsilon": _number(above=0),
    "amp": ("True, False or auto (capitalized)", lambda value: value is True or value is False or value == "auto"),
    "animations": _whole(0),
    "batch_size": _whole(1),
    "border_fraction": FRACTION,
    "brightness_prob": FRACTION,
    "buffer": ("three whole numbers of at least 0", lambda value: _is_list(value, lambda n: _is_whole(n, 0), 3)),
    "queue_size": _whole(1),
    "center_fraction": FRACTION,
    "channel_order": (
        "every channel's number once, from 0",
        lambda value: _is_list(value, _is_whole) and sorted(value) == list(range(len(value))),
    ),
    "class_weights": _or_none(
        ("a list of numbers of at least 0", lambda value: _is_list(value, lambda w: _is_number(w) and w >= 0))
    ),
    "coarse_grid": _sizes(),
    "coarse_min_size": _number(least=0),
    "coarse_patch": _sizes(),
    "coarse_spacing": MILLIMETERS,
    "component_filter": BOOLEAN,
    "components": WHOLE_LIST,
    "crop": _one_of("auto", "locator", "label", "none"),
    "depth": _whole(0),
    "device": ("cpu, or a GPU that this machine has (cuda:0)", _is_device),
    "dice_weight": _number(least=0),
    "discriminator_learning_rate": _number(above=0),
    "drawn_fractions": TEXT_LIST,
    "elastic_prob": FRACTION,
    "epochs": _whole(1),
    "first_stage_epochs": _whole(1),
    "flip_prob": FRACTION,
    "fold": ("a whole number of at least 0, or all", lambda value: value == "all" or _is_whole(value, 0)),
    "folds": _whole(2),
    "grid": _sizes(),
    "groups": _or_none(
        (
            "column, or a regular expression with one group in parentheses",
            lambda value: isinstance(value, str) and (value == "column" or re.compile(value).groups == 1),
        )
    ),
    "intensity": _one_of("case", "cohort"),
    "kernels": BOOLEAN,
    "keys": (
        "a list of image, label or both",
        lambda value: _is_list(value, lambda key: key in ("image", "label")) and len(value) > 0,
    ),
    "label_value": _whole(1),
    "label_values": WHOLE_LIST,
    "largest_component": BOOLEAN,
    "learning_rate": _number(above=0),
    "lesion_repeats": _whole(1),
    "low_memory": BOOLEAN,
    "lr_per_epoch": BOOLEAN,
    "margin": _number(least=0),
    "max_points": _whole(1),
    "may_be_absent": TEXT_LIST,
    "memory_gb": _or_none(_number(above=0)),
    "min_size": _number(least=0),
    "min_size_unit": _one_of("mm3", "upstream"),
    "mirror_axes": ("a list of axes from 0, 1, 2", lambda value: _is_list(value, lambda axis: _is_whole(axis, 0, 2))),
    "nonzero": BOOLEAN,
    "num_workers": _whole(0),
    "order": _one_of("alternating", "simultaneous"),
    "pade_learning_rate": _number(above=0),
    "patch": _sizes(),
    "pictures": _whole(0),
    "placement": _one_of("pad", "resize"),
    "points": _whole(1),
    "repeats": _whole(1),
    "resume": BOOLEAN,
    "roi_size": _sizes(-1),
    "rotation_prob": FRACTION,
    "samples_per_case": _whole(1),
    "score_border_fraction": FRACTION,
    "score_points": _whole(1),
    "seed": _whole(0, 2**32 - 1),
    "shown": _or_none(RANGE),
    "skip_existing": BOOLEAN,
    "spacing": _or_none(MILLIMETERS),
    "strategy": _one_of("mise", "dense", "coarse_to_fine"),
    "tolerance_mm": _number(above=0),
    "untouched_fraction": FRACTION,
    "val_interval": _whole(1),
    "window": _or_none(RANGE),
    "working_size": _sizes(),
    "written_values": WHOLE_LIST,
}
