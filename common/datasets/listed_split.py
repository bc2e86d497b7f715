"""Splits whose first fold validates on a list of cases that comes with this package."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist

from common.datasets.fit import fit_once
from common.datasets.splits import check_folds, split
from common.datasets.stored_splits import read_split

__all__ = ["LISTS", "listed_split"]

logger = logging.getLogger(__name__)

LISTS = ("brats2020", "lits")

Cases = list[dict]


def listed_split(
    path: str | Path, datalist: Sequence[dict], *, listed: str, fold: int, folds: int, seed: int
) -> dict[str, Cases]:
    """Cross-validation whose fold 0 validates on the listed cases, the others on a seeded share of the rest each.

    ``brats2020``: the 45 of 369 cases that OSS-Net's authors validate on (324 train). ``lits``: 20 of 131 cases, drawn
    once with a seed (111 train). Where the data set holds other cases than the list's, or they cannot make these folds,
    all folds are seeded, as in :func:`~common.datasets.split`; the log says which.

    Args:
        path: JSON file that holds all folds; written once, and again where the cases, ``folds`` or ``seed`` changed.
        datalist: items with a ``case``; listed cases that are missing are left out.
        listed: name of the list, ``brats2020`` or ``lits``.
        fold: which of the folds, 0 to ``folds`` - 1. Each case validates in exactly one fold.
        folds: how many, at least 2.
        seed: of the shuffle; fold 0 of the listed cases does not depend on it.

    Returns:
        ``{"train": [...], "validate": [...]}``, each sorted by case id; :func:`~common.datasets.read_split` reads them
        again for evaluation.

    Raises:
        ValueError: if there is no such list, fold and folds do not fit each other, or there are fewer cases than folds.
    """
    if listed not in LISTS:
        raise ValueError(f"listed must be one of {', '.join(LISTS)}, got {listed!r}")
    check_folds(datalist, fold, folds)
    names = sorted(item["case"] for item in datalist)
    held_out = _held_out(names, listed)
    usable = bool(held_out) and len(names) - len(held_out) >= folds - 1

    def compute() -> dict:
        blocks = _listed_blocks(names, held_out, folds, seed) if usable else _blocks(names, folds, seed)
        parts = [{"train": sorted({*names} - {*block}), "validate": block} for block in blocks]
        return {"kind": listed if usable else "seeded", "seed": seed, "folds": parts}

    if idist.get_rank() == 0:
        if usable:
            logger.info("fold 0 validates on %d cases of the list %s", len(held_out), listed)
        else:
            logger.info("%d seeded folds: the cases cannot be split as the list %s says", folds, listed)
    choice = {"kind": listed if usable else "seeded", "folds": folds, "seed": seed, "cases": names}
    fit_once(path, choice, compute)
    return read_split(path, datalist, fold=fold)


def _held_out(names: Sequence[str], listed: str) -> list[str]:
    """The cases on the list; none if any case is not one of the data set that the list is of."""
    known = json.loads(Path(__file__).with_name(f"{listed}.json").read_text())
    numbers = {name: re.fullmatch(known["case"], name) for name in names}
    if not all(n and known["first"] <= int(n[1]) <= known["last"] for n in numbers.values()):
        return []
    return [name for name, number in numbers.items() if int(number[1]) in known["validate"]]


def _listed_blocks(names: Sequence[str], held_out: list[str], folds: int, seed: int) -> list[list[str]]:
    rest = sorted({*names} - {*held_out})
    return [held_out, *([rest] if folds == 2 else _blocks(rest, folds - 1, seed))]


def _blocks(names: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """What each of the seeded folds validates on."""
    cases = [{"case": name} for name in names]
    parts = [split(cases, fold=k, folds=folds, seed=seed)["validate"] for k in range(folds)]
    return [[item["case"] for item in part] for part in parts]
