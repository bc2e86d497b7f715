"""The folds that FLARE 2021's winner was trained in, and the lesion cases that it saw more often."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist

from common.datasets.fit import fit_once
from common.datasets.splits import check_folds, split
from common.datasets.stored_splits import read_split

__all__ = ["flare21_split", "oversampled"]

logger = logging.getLogger(__name__)

PUBLISHED = Path(__file__).with_name("flare21.json")

Cases = list[dict[str, str]]


def flare21_split(
    path: str | Path, datalist: Sequence[dict[str, str]], *, fold: int, folds: int, seed: int
) -> dict[str, Cases]:
    """Cross-validation in the published folds of FLARE 2021's cases, else in seeded ones; the log says which.

    Published fold 1, here fold 0, trains on 288 cases and validates on 73. These 288, sorted by id and cut into four
    runs of 72, are what folds 2 to 5 validate on in turn, training on all others.

    The published folds are taken where ``folds`` is 5, all ids are FLARE 2021's (``train_000`` to ``train_360``) and no
    fold lacks more than half of the cases that it validates on; those that are missing are left out.

    Args:
        path: JSON file that holds all folds; written once, and again where the cases, ``folds`` or ``seed`` changed.
        datalist: items with a ``case``.
        fold: which of the folds, 0 to ``folds`` - 1.
        folds: how many, at least 2.
        seed: of the shuffle (see :func:`~common.datasets.split`); without effect on the published folds.

    Returns:
        ``{"train": [...], "validate": [...]}``, each sorted by case id; :func:`~common.datasets.read_split` reads them
        again for evaluation.

    Raises:
        ValueError: if fold and folds do not fit each other, or there are fewer cases than folds.
    """
    check_folds(datalist, fold, folds)
    names = sorted(item["case"] for item in datalist)
    published = _published_folds(names) if folds == len(_published()["validate"]) else None

    def compute() -> dict:
        if published:
            parts = [{"train": sorted({*names} - {*held_out}), "validate": held_out} for held_out in published]
            return {"kind": "published", "folds": parts}
        seeded = [split(datalist, fold=k, folds=folds, seed=seed) for k in range(folds)]
        parts = [{part: [item["case"] for item in items] for part, items in fold.items()} for fold in seeded]
        return {"kind": "seeded", "seed": seed, "folds": parts}

    if idist.get_rank() == 0:
        if published:
            logger.info("published folds of FLARE 2021, with %d of their 361 cases", len(names))
        else:
            logger.info(
                "%d seeded folds: the cases or the number of folds are not those published for FLARE 2021", folds
            )
    choice = {"kind": "published"} if published else {"kind": "seeded", "seed": seed, "folds": folds}
    fit_once(path, {**choice, "cases": names}, compute)
    return read_split(path, datalist, fold=fold)


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
    names = set(_named(_published()["lesions"]) if lesions is None else lesions)
    return [item for item in cases for _ in range(times if item["case"] in names else 1)]


def _published() -> dict:
    return json.loads(PUBLISHED.read_text())


def _named(numbers: Sequence[int]) -> list[str]:
    return [f"train_{number:03d}" for number in numbers]


def _published_folds(names: Sequence[str]) -> list[list[str]] | None:
    """What each published fold validates on of these cases; None where they are others, or too few."""
    whole = [_named(numbers) for numbers in _published()["validate"]]
    there = [[case for case in held_out if case in set(names)] for held_out in whole]
    enough = all(2 * len(some) >= len(all_) for some, all_ in zip(there, whole, strict=True))
    return there if enough and sum(map(len, there)) == len(names) else None
