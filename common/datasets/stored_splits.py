"""Splits that keep rare cases in every part, and that are stored beside the model they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.errors import DataError
from common.datasets.keys import stamp
from common.datasets.splits import check_folds
from common.datasets.stored import REMEDY, plan_once, read_stored
from common.transforms.load import LoadImageAsVolumed

__all__ = ["positives_only_split", "read_split", "stratified_split"]

THREADS = 2


def stratified_split(
    path: str | Path, datalist: Sequence[dict[str, str]], *, label_value: int | None, fold: int, folds: int, seed: int
) -> dict[str, list[dict[str, str]]]:
    """Cross-validation with a held-out part that is halved: one half selects the checkpoint, the other tests.

    Cases with and without ``label_value`` are spread evenly over all parts. Each case is held out in exactly one fold.
    Of Task03_Liver's 131 cases, 118 of them with a tumor, fold 0 of 5 trains on 105, validates on 13 and tests on 13.

    Args:
        path: JSON file that holds all folds; written once, and again where the cases, ``folds`` or ``seed`` changed.
        datalist: items with a ``case`` and a ``label``, a file.
        label_value: what the labels are searched for, such as that of a tumor; None: all cases count as alike.
        fold: which of the folds, 0 to ``folds`` - 1.
        folds: how many, at least 2.
        seed: of the shuffle.

    Returns:
        ``{"train": [...], "validate": [...], "test": [...]}``, each sorted by case id. Where a fold holds out a single
        case, ``test`` is empty.

    Raises:
        ValueError: if fold and folds do not fit each other, or there are fewer cases than folds.
        DataError: for labels that cannot be read, with one message that names them all.
    """

    def make(bearing: dict[str, bool], rng: np.random.Generator) -> list[dict[str, list[str]]]:
        blocks = _blocks(_spread(bearing, rng), folds)
        parts = []
        for held_out in blocks:
            half = (len(held_out) + 1) // 2
            train = [case for block in blocks if block is not held_out for case in block]
            parts.append(_sorted(train=train, validate=held_out[:half], test=held_out[half:]))
        return parts

    check_folds(datalist, fold, folds)
    _store(path, datalist, label_value, {"kind": "stratified", "folds": folds, "seed": seed}, make)
    return read_split(path, datalist, fold=fold)


def positives_only_split(
    path: str | Path, datalist: Sequence[dict[str, str]], *, label_value: int | None, fold: int, folds: int, seed: int
) -> dict[str, list[dict[str, str]]]:
    """Cross-validation of the cases that bear ``label_value`` alone; what validates is also what tests.

    As the description of ``unet_liver_tumor`` has it: of Task03_Liver's 118 cases with a tumor, fold 0 of 9 trains on
    105 and validates on 13. Arguments, result and errors as for :func:`stratified_split`.
    """

    def make(bearing: dict[str, bool], rng: np.random.Generator) -> list[dict[str, list[str]]]:
        blocks = _blocks(_spread({case: True for case, has in bearing.items() if has}, rng), folds)
        if not all(blocks):
            raise ValueError(f"{sum(bearing.values())} cases with label {label_value} cannot make {folds} folds")
        train = [[case for other in blocks if other is not block for case in other] for block in blocks]
        return [_sorted(train=rest, validate=block, test=block) for rest, block in zip(train, blocks, strict=True)]

    check_folds(datalist, fold, folds)
    _store(path, datalist, label_value, {"kind": "bearing", "folds": folds, "seed": seed}, make)
    return read_split(path, datalist, fold=fold)


def read_split(path: str | Path, datalist: Sequence[dict[str, str]], *, fold: int) -> dict[str, list[dict[str, str]]]:
    """One fold of a stored split, for evaluation: it is never made anew.

    Args:
        path: JSON file beside the weights.
        datalist: items with a ``case``; those that the split does not know are left out.
        fold: which of the stored folds.

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
    known = {item["case"]: item for item in datalist}
    missing = sorted({case for part in stored[fold].values() for case in part} - set(known))
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{path}: {len(missing)} of its cases are not in this data set ({some}); give the data set that the split "
            "was made of, or evaluate all cases"
        )
    return {part: [known[case] for case in names] for part, names in stored[fold].items()}


def _is_split(parts: Any) -> bool:
    lists = parts.values() if isinstance(parts, dict) else [None]
    return all(isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in lists)


def _store(
    path: str | Path, datalist: Sequence[dict], label_value: int | None, choice: dict[str, Any], make: Any
) -> None:
    """Write the folds that ``make`` chooses, unless they are there for the same cases and choices."""
    inputs = {**choice, "label_value": label_value, "cases": sorted([i["case"], stamp(i["label"])] for i in datalist)}

    def compute() -> dict[str, Any]:
        bearing = _bearing(datalist, label_value)
        without = sorted(case for case, has in bearing.items() if not has)
        parts = make(bearing, np.random.default_rng(choice["seed"]))
        return {**choice, "label_value": label_value, "without": without, "folds": parts}

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


def _sorted(**parts: Sequence[str]) -> dict[str, list[str]]:
    """The parts with names as Python's own strings, in the order of the ids."""
    return {name: sorted(map(str, cases)) for name, cases in parts.items()}
