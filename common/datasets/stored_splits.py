"""Splits that keep rare cases in every part, and that are stored beside the model they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.errors import DataError
from common.datasets.groups import Groups, assigned, grouped
from common.datasets.identity import name_hash
from common.datasets.keys import stamp
from common.datasets.splits import Split, or_all, usable_folds
from common.datasets.stored import REMEDY, plan_once, read_stored
from common.transforms.load import LoadImageAsVolumed

__all__ = ["positives_only_split", "read_split", "stratified_split"]

THREADS = 2


@or_all
def stratified_split(
    path: str | Path,
    datalist: Sequence[dict[str, str]],
    *,
    label_value: int | None,
    fold: int | str,
    folds: int,
    seed: int,
    groups: str | None = None,
) -> Split:
    """Cross-validation with a held-out part that is halved: one half selects the checkpoint, the other tests.

    Cases with and without ``label_value`` are spread evenly over all parts. Each case is held out in exactly one fold.
    Of Task03_Liver's 131 cases, 118 of them with a tumor, fold 0 of 5 trains on 105, validates on 13 and tests on 13.

    Args:
        path: JSON file that holds all folds; written once, and again where the cases or the choices below changed.
        datalist: items with a ``case`` and a ``label``, a file.
        label_value: what the labels are searched for, such as that of a tumor; None: all cases count as alike.
        fold: which of the folds, 0 to ``folds`` - 1, or ``"all"``.
        folds: how many, at least 2; fewer where there are fewer cases or groups, and a warning says so.
        seed: of the shuffle.
        groups: which cases stay in one part (:func:`common.datasets.groups.grouped`); None: each is alone. A group is
            one with ``label_value`` if one of its cases is.

    Returns:
        ``{"train": [...], "validate": [...], "test": [...]}``, each sorted by case id. Where a fold holds out a single
        case or group, ``test`` is empty.

    Raises:
        ValueError: if fold and folds do not fit each other, there is a single case or group, or ``groups`` is wrong.
        DataError: for labels that cannot be read, with one message that names them all.
    """

    together = grouped(datalist, groups)
    folds = usable_folds(len(together), fold=fold, folds=folds, what="cases" if groups is None else "groups")

    def make(bearing: dict[str, bool]) -> list[dict[str, list[str]]]:
        if groups is None:
            blocks = _blocks(_spread(bearing, np.random.default_rng(seed)), folds)
            halves = [(block[: (len(block) + 1) // 2], block[(len(block) + 1) // 2 :]) for block in blocks]
        else:
            blocks = _group_blocks(together, bearing, folds, seed)
            halves = [_group_blocks(_of(together, block), bearing, 2, seed) for block in blocks]
        return [
            _sorted(train=_others(blocks, held_out), validate=validate, test=test)
            for held_out, (validate, test) in zip(blocks, halves, strict=True)
        ]

    choice = {"kind": "stratified", "folds": folds, "seed": seed, "groups": groups}
    _store(path, datalist, label_value, {**choice, "together": together if groups else None}, make)
    return read_split(path, datalist, fold=fold)


@or_all
def positives_only_split(
    path: str | Path,
    datalist: Sequence[dict[str, str]],
    *,
    label_value: int | None,
    fold: int | str,
    folds: int,
    seed: int,
    groups: str | None = None,
) -> Split:
    """Cross-validation of the cases that bear ``label_value`` alone; what validates is also what tests.

    As the description of ``unet_liver_tumor`` has it: of Task03_Liver's 118 cases with a tumor, fold 0 of 9 trains on
    105 and validates on 13. Arguments, result and errors as for :func:`stratified_split`.
    """

    together = grouped(datalist, groups)

    def make(bearing: dict[str, bool]) -> list[dict[str, list[str]]]:
        usable = [case for case, has in bearing.items() if has]
        units = usable if groups is None else _of(together, usable)
        what = f"{'cases' if groups is None else 'groups'} with label {label_value}"
        count = usable_folds(len(units), fold=fold, folds=folds, what=what)
        if groups is None:
            blocks = _blocks(_spread(dict.fromkeys(usable, True), np.random.default_rng(seed)), count)
        else:
            blocks = _group_blocks(_of(together, usable), bearing, count, seed)
        return [_sorted(train=_others(blocks, block), validate=block, test=block) for block in blocks]

    choice = {"kind": "bearing", "folds": folds, "seed": seed, "groups": groups}
    _store(path, datalist, label_value, {**choice, "together": together if groups else None}, make)
    return read_split(path, datalist, fold=fold)


@or_all
def read_split(path: str | Path, datalist: Sequence[dict[str, str]], *, fold: int | str) -> Split:
    """One fold of a stored split, for evaluation: it is never made anew.

    Args:
        path: JSON file beside the weights, with the cases' names or their hashes.
        datalist: items with a ``case``; those that the split does not know are left out.
        fold: which of the stored folds, or ``"all"``.

    Returns:
        ``{"train": [...], "validate": [...], "test": [...]}``, each sorted by case id.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, has no such fold, or the data set lacks cases that it names.
    """
    stored = read_stored(path)["folds"]
    if not isinstance(stored, list) or not all(map(_is_split, stored)):
        raise ValueError(f"{path}: folds must be lists of cases to train, validate and test; {REMEDY}")
    if not 0 <= fold < len(stored):
        raise ValueError(f"{path}: holds folds 0 to {len(stored) - 1}, got {fold}")
    known = {name: item for item in datalist for name in (item["case"], name_hash(item["case"]))}
    missing = sorted({case for part in stored[fold].values() for case in part} - set(known))
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{path}: {len(missing)} of its cases are not in this data set ({some}); give the data set that the split "
            "was made of, or evaluate all cases"
        )
    parts = {part: [known[case] for case in names] for part, names in stored[fold].items()}
    return Split(parts, folds=len(stored))


def _is_split(parts: Any) -> bool:
    lists = parts.values() if isinstance(parts, dict) else [None]
    return all(isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in lists)


def _store(
    path: str | Path, datalist: Sequence[dict], label_value: int | None, choice: dict[str, Any], make: Any
) -> None:
    """Write the folds that ``make`` chooses, unless they are there for the same cases and choices."""
    inputs = {**choice, "label_value": label_value, "cases": sorted([i["case"], stamp(i["label"])] for i in datalist)}
    noted = {key: value for key, value in choice.items() if key != "together"}

    def compute() -> dict[str, Any]:
        bearing = _bearing(datalist, label_value)
        without = sorted(case for case, has in bearing.items() if not has)
        return {**noted, "label_value": label_value, "without": without, "folds": make(bearing)}

    plan_once(path, inputs, compute)


def _bearing(datalist: Sequence[dict[str, str]], label_value: int | None) -> dict[str, bool]:
    """Which cases' labels hold a value, by case in the order of their ids."""
    items = sorted(datalist, key=lambda item: item["case"])
    if label_value is None:
        return {item["case"]: True for item in items}

    def look(item: dict[str, str]) -> bool | str:
        load = LoadImageAsVolumed("label")  # of this thread: MONAI's readers remember what they read last
        try:
            return bool((load({"label": item["label"]})["label"] == label_value).any())
        except Exception as error:  # the formats' libraries raise errors of all kinds
            return f"  {item['label']}: cannot be read ({type(error).__name__})"

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(look, items))
    faults = [answer for answer in found if isinstance(answer, str)]
    if faults:
        raise DataError("These labels cannot be used:\n" + "\n".join(faults))
    return {item["case"]: has for item, has in zip(items, found, strict=True)}


def _spread(bearing: dict[str, bool], rng: np.random.Generator) -> list[str]:
    """The cases shuffled, with each kind spread evenly: every run of them has about the same share of both."""
    places = []
    for kind in (True, False):
        cases = sorted(case for case, has in bearing.items() if has is kind)
        rng.shuffle(cases)
        places += [((rank + 0.5) / len(cases), kind, case) for rank, case in enumerate(cases)]
    return [case for *_, case in sorted(places)]


def _blocks(cases: Sequence[str], count: int) -> list[list[str]]:
    """Cut a list into runs whose lengths differ by one at most; the longer ones come last."""
    return [list(block)[::-1] for block in np.array_split(list(cases)[::-1], count)][::-1]


def _group_blocks(groups: Groups, bearing: Mapping[str, bool], count: int, seed: int) -> list[list[str]]:
    """The cases of groups in ``count`` parts, groups with a case that bears the label spread evenly over them."""
    first = {name for name, cases in groups.items() if any(bearing[case] for case in cases)}
    return assigned(groups, count, seed=seed, first=first)


def _of(groups: Groups, cases: Sequence[str]) -> Groups:
    """The groups of some of the cases, with these cases alone."""
    chosen = {*cases}
    kept = {name: [case for case in own if case in chosen] for name, own in groups.items()}
    return {name: own for name, own in kept.items() if own}


def _others(blocks: Sequence[Sequence[str]], held_out: Sequence[str]) -> list[str]:
    """The cases of all blocks but one."""
    return [case for block in blocks if block is not held_out for case in block]


def _sorted(**parts: Sequence[str]) -> dict[str, list[str]]:
    """The parts with names as Python's own strings, in the order of the ids."""
    return {name: sorted(map(str, cases)) for name, cases in parts.items()}
