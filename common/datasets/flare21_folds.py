"""The folds that FLARE 2021's winner was trained in, and the lesion cases that it saw more often."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.datasets.listed_splits import listed_split
from common.datasets.splits import Split

__all__ = ["flare21_split", "oversampled"]


def flare21_split(
    path: str | Path, datalist: Sequence[dict], *, fold: int | str, folds: int, seed: int, groups: str | None = None
) -> Split:
    """The five published folds of FLARE 2021's cases, else seeded ones: :func:`listed_split` with ``flare21``."""
    return listed_split(path, datalist, listed="flare21", fold=fold, folds=folds, seed=seed, groups=groups)


def oversampled(
    cases: Sequence[dict[str, str]], *, times: int = 4, lesions: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """Each case once an epoch, and those with lesions several times.

    The authors' code takes 30 cases 4 times (their paper says 3 times); 23 of them train in the first published fold,
    which makes 357 items of its 288 cases.

    Args:
        cases: the training cases, items with a ``case``.
        times: how often each lesion case is there in all, at least 1.
        lesions: ids of these cases; None for the published ones. Ids that are no training case have no effect.

    Returns:
        The items in their order, each repeated one after the other.
    """
    if lesions is None:
        numbers = json.loads(Path(__file__).with_name("flare21.json").read_text())["lesions"]
        lesions = [f"train_{number:03d}" for number in numbers]
    return [item for item in cases for _ in range(times if item["case"] in lesions else 1)]
