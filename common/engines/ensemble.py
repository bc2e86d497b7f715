"""The plans of several trainings, of a cross-validation's folds for instance, as one plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import ensure_tuple
from torch import nn

from common.datasets import read_plan

__all__ = ["ensemble_plan"]

# What differs from fold to fold: inference does not need it ...
OF_A_FOLD = {"fold", "cases", "class_weights", "inputs_hash", "earlier_weights", "demonstration_only", "box_fraction"}
OF_A_FOLD |= {"image_hashes", "init", "overrides", "recorded"}
# ... or takes the members' largest, or their mean.
LARGEST, MEAN = {"crop_size"}, {"mean", "std"}


def ensemble_plan(folders: str | Path | Sequence[str | Path], *, network: nn.Module) -> dict[str, Any]:
    """The plan by which an ensemble predicts.

    Args:
        folders: each holds ``plan.json`` of a training; one folder makes an ensemble of one.
        network: built as the trained ones were.

    Returns:
        The first training's plan, with the largest ``crop_size`` on each axis, the mean of the cohorts' ``mean`` and
        ``std``, the ``cases`` of all, and ``demonstration_only`` if it is one's.

    Raises:
        FileNotFoundError: if a folder lacks the file.
        ValueError: if a plan is of another network, or what the plans say of inference differs.
    """
    folders = ensure_tuple(folders)
    plans = [read_plan(Path(folder) / "plan.json", network=network) for folder in folders]
    first = plans[0]
    for folder, plan in zip(folders, plans, strict=True):
        different = [key for key in {**first, **plan} if key not in OF_A_FOLD and not _agree(key, first, plan)]
        if different:
            raise ValueError(
                f"{folder}/plan.json: {', '.join(sorted(different))} differs from the first member's; average "
                "trainings of one recipe only"
            )
    for key in (LARGEST | MEAN) & first.keys():
        values = [plan[key] for plan in plans]
        if values[0] is not None:
            first[key] = np.max(values, axis=0).tolist() if key in LARGEST else float(np.mean(values))
    for key in ("cases", "image_hashes"):
        first[key] = sorted({case for plan in plans for case in plan.get(key, [])})
    first["demonstration_only"] = any(plan["demonstration_only"] for plan in plans)
    return first


def _agree(key: str, first: dict[str, Any], plan: dict[str, Any]) -> bool:
    if key in LARGEST | MEAN:
        return (first.get(key) is None) == (plan.get(key) is None)
    return first.get(key) == plan.get(key)
