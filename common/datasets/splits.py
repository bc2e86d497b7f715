"""Folds: which cases train and which validate."""

from __future__ import annotations

from collections.abc import Sequence

from monai.data.utils import partition_dataset

__all__ = ["check_folds", "split"]


def split(datalist: Sequence[dict], *, fold: int, folds: int, seed: int) -> dict[str, list[dict]]:
    """Cross-validation by seeded shuffling; depends on the case ids alone, not on the order of the list.

    Args:
        datalist: items with a ``case``.
        fold: the validating fold, 0 to ``folds`` - 1. Each case validates in exactly one fold.
        folds: how many, at least 2.
        seed: of the shuffle (that of :func:`monai.data.partition_dataset`).

    Returns:
        ``{"train": [...], "validate": [...]}``, both sorted by case id.

    Raises:
        ValueError: if fold and folds do not fit each other, or there are fewer cases than folds.
    """
    check_folds(datalist, fold, folds)
    cases = sorted(datalist, key=_case)
    parts = partition_dataset(cases, num_partitions=folds, shuffle=True, seed=seed)
    train = [item for k, part in enumerate(parts) if k != fold for item in part]
    return {"train": sorted(train, key=_case), "validate": sorted(parts[fold], key=_case)}


def check_folds(datalist: Sequence[dict], fold: int, folds: int) -> None:
    """Refuse folds that cannot be made.

    Raises:
        ValueError: if fold and folds do not fit each other, or there are fewer cases than folds.
    """
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (fold, folds)):
        raise ValueError(f"fold and folds must be whole numbers, got {fold!r} and {folds!r}")
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f"fold must be 0 to folds - 1 and folds at least 2, got fold {fold} of {folds}")
    if len(datalist) < folds:
        raise ValueError(
            f"{len(datalist)} cases cannot make {folds} folds; add cases or lower folds (to evaluate all: --subset all)"
        )


def _case(item: dict) -> str:
    return item["case"]
