"""Splits whose first folds validate on lists of cases that come with this package."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist

from common.datasets.groups import grouped
from common.datasets.splits import Split, or_all, split, usable_folds
from common.datasets.stored import plan_once
from common.datasets.stored_splits import read_split

__all__ = ["LISTS", "listed_split"]

logger = logging.getLogger(__name__)

LISTS = ("brats2020", "flare21", "lits")


@or_all
def listed_split(
    path: str | Path,
    datalist: Sequence[dict],
    *,
    listed: str | None,
    fold: int | str,
    folds: int,
    seed: int,
    groups: str | None = None,
) -> Split:
    """Cross-validation whose first folds validate on listed cases, the others on a seeded share of the rest each.

    ``brats2020``, for fold 0: the 45 of 369 cases that OSS-Net's authors validate on (324 train). ``lits``, for fold 0:
    20 of 131 cases, drawn once with a seed (111 train). ``flare21``, for all 5 folds: those of FLARE 2021's winner,
    whose first validates on 73 of 361 cases (288 train); these 288, sorted and cut into four runs of 72, are what the
    others validate on. Where the data set holds other cases than the lists', they cannot make these folds, or there are
    groups, all folds are seeded, as in :func:`~common.datasets.split`; the log says which.

    Args:
        path: JSON file that holds all folds; written once, and again where the cases or the choices below changed.
        datalist: items with a ``case``; listed cases that are missing are left out.
        listed: ``brats2020``, ``flare21`` or ``lits``; None: all folds are seeded.
        fold: which of the folds, 0 to ``folds`` - 1, or ``"all"``. Each case validates in exactly one fold.
        folds: how many, at least 2; fewer where there are fewer cases or groups, and a warning says so.
        seed: of the shuffle; the listed folds do not depend on it.
        groups: which cases stay in one fold (:func:`common.datasets.groups.grouped`); None: each is alone.

    Returns:
        ``{"train": [...], "validate": [...]}``, each sorted by case id; :func:`~common.datasets.read_split` reads them
        again for evaluation.

    Raises:
        ValueError: if there is no such list, fold and folds do not fit each other, there is a single case or group, or
            ``groups`` is wrong.
    """
    if listed is not None and listed not in LISTS:
        raise ValueError(f"listed must be one of {', '.join(LISTS)}, got {listed!r}")
    together = grouped(datalist, groups)
    folds = usable_folds(len(together), fold=fold, folds=folds, what="cases" if groups is None else "groups")
    names = sorted(item["case"] for item in datalist)
    held_out = _held_out(names, listed) if listed and groups is None else []
    rest, others = len(names) - sum(map(len, held_out)), folds - len(held_out)
    usable = bool(held_out) and all(held_out) and (rest >= others > 0 or rest == others == 0)

    def compute() -> dict:
        blocks = _listed_blocks(names, held_out, folds, seed) if usable else _blocks(datalist, folds, seed, groups)
        parts = [{"train": sorted({*names} - {*block}), "validate": block} for block in blocks]
        return {"kind": listed if usable else "seeded", "seed": seed, "groups": groups, "folds": parts}

    if idist.get_rank() == 0:
        if usable:
            said = ", ".join(f"fold {k} validates on {len(block)} cases" for k, block in enumerate(held_out))
            logger.info("as listed for %s: %s", listed, said)
        elif listed:
            reason = "groups stay together" if groups else f"the cases cannot be split as the list {listed} says"
            logger.info("%d seeded folds: %s", folds, reason)
    choice = {
        "kind": listed if usable else "seeded",
        "folds": folds,
        "seed": seed,
        "cases": names,
        "held_out": held_out,
        "groups": together if groups else None,
    }
    plan_once(path, choice, compute)
    return read_split(path, datalist, fold=fold)


def _held_out(names: Sequence[str], listed: str) -> list[list[str]]:
    """The cases on each of the lists; no lists if any case is not one of the data set that they are of."""
    known = json.loads(Path(__file__).with_name(f"{listed}.json").read_text())
    numbers = {name: re.fullmatch(known["case"], name) for name in names}
    if not all(n and known["first"] <= int(n[1]) <= known["last"] for n in numbers.values()):
        return []
    return [[name for name, number in numbers.items() if int(number[1]) in block] for block in known["validate"]]


def _listed_blocks(names: Sequence[str], held_out: list[list[str]], folds: int, seed: int) -> list[list[str]]:
    rest = sorted({*names}.difference(*held_out))
    others = folds - len(held_out)
    if others > 1:
        return [*held_out, *_blocks([{"case": name} for name in rest], others, seed, None)]
    return [*held_out, rest] if others else held_out


def _blocks(cases: Sequence[dict], folds: int, seed: int, groups: str | None) -> list[list[str]]:
    """What each of the seeded folds validates on."""
    parts = [split(cases, fold=k, folds=folds, seed=seed, groups=groups)["validate"] for k in range(folds)]
    return [[item["case"] for item in part] for part in parts]
