"""Folds: which cases train and which validate."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
from monai.data.utils import partition_dataset

from common.datasets.groups import assigned, grouped

__all__ = ["ALL", "Split", "or_all", "split", "usable_folds"]

logger = logging.getLogger(__name__)

ALL = "all"  # in place of a fold: every case is trained on


class Split(dict):
    """The parts of one fold, name -> cases.

    Args:
        parts: ``train``, ``validate`` and, where there is one, ``test``.
        folds: how many folds the cases make.
    """

    def __init__(self, parts: Mapping[str, list[dict]], *, folds: int) -> None:
        super().__init__(parts)
        self.folds = folds

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


def or_all(choose: Callable[..., Split]) -> Callable[..., Split]:
    """Let a function that chooses the cases of a ``fold`` also take ``"all"``: every case trains.

    What fold 0 validates on is validated all the same, so that a training can be watched; it is trained on, so that its
    metrics say nothing about other cases. Nothing is left to test.
    """

    @functools.wraps(choose)
    def chosen(*arguments: Any, fold: int | str, **options: Any) -> Split:
        if fold != ALL:
            return choose(*arguments, fold=fold, **options)
        parts = choose(*arguments, fold=0, **options)
        train = sorted({item["case"]: item for part in parts.values() for item in part}.values(), key=_case)
        if idist.get_rank() == 0:
            count = len(parts["validate"])
            logger.warning(
                "fold all: trains on all %d cases; validates on %d of them, which is no test", len(train), count
            )
        return Split({**parts, "train": train, **({"test": []} if "test" in parts else {})}, folds=parts.folds)

    return chosen


@or_all
def split(datalist: Sequence[dict], *, fold: int | str, folds: int, seed: int, groups: str | None = None) -> Split:
    """Cross-validation by seeded shuffling; depends on the case ids alone, not on the order of the list.

    Args:
        datalist: items with a ``case``.
        fold: the validating fold, 0 to ``folds`` - 1; each case validates in one. Or ``"all"``: see :func:`or_all`.
        folds: how many, at least 2; fewer where there are fewer cases or groups, and a warning says so.
        seed: of the shuffle (that of :func:`monai.data.partition_dataset`).
        groups: which cases stay in one fold (:func:`common.datasets.groups.grouped`); None: each is alone.

    Returns:
        ``{"train": [...], "validate": [...]}``, both sorted by case id.

    Raises:
        ValueError: if fold and folds do not fit each other, there is a single case or group, or ``groups`` is wrong.
    """
    cases = sorted(datalist, key=_case)
    together = grouped(cases, groups)
    folds = usable_folds(len(together), fold=fold, folds=folds, what="cases" if groups is None else "groups")
    if groups is None:
        parts = partition_dataset(cases, num_partitions=folds, shuffle=True, seed=seed)
    else:
        known = {item["case"]: item for item in cases}
        parts = [[known[name] for name in block] for block in assigned(together, folds, seed=seed)]
    train = [item for k, part in enumerate(parts) if k != fold for item in part]
    return Split({"train": sorted(train, key=_case), "validate": sorted(parts[fold], key=_case)}, folds=folds)


def usable_folds(count: int, *, fold: int, folds: int, what: str = "cases") -> int:
    """How many folds there will be: as many as asked for, or one for each case or group if these are fewer.

    Args:
        count: of what is distributed to the folds.
        fold: the validating fold.
        folds: asked for.
        what: is distributed, in the plural.

    Raises:
        ValueError: if fold and folds do not fit each other, or there is too little to train and to validate.
    """
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (fold, folds)):
        raise ValueError(f"fold and folds must be whole numbers, got {fold!r} and {folds!r}")
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f"fold must be 0 to folds - 1 and folds at least 2, got fold {fold} of {folds}")
    if count < 2:
        raise ValueError(
            f"a training needs one of its {what} to train and another to validate, found {count}: add {what} (weights "
            "that are there can be evaluated on all cases: --subset all)"
        )
    if count >= folds:
        return folds
    if fold >= count:
        raise ValueError(f"{count} {what} make {count} folds, 0 to {count - 1}, got fold {fold}")
    if idist.get_rank() == 0:
        logger.warning("%d %s make %d folds, not %d", count, what, count, folds)
    return count


def _case(item: dict[str, Any]) -> str:
    return item["case"]
