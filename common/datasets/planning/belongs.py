"""Whether a data set, a plan and a bundle belong together; what does not is said in one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.datasets.check import Seen
from common.datasets.errors import DataError
from common.datasets.layouts.data_set import DataSet
from common.datasets.planning.rules import Traits
from common.files import files_of

__all__ = ["check_plan", "is_the_papers", "source_of", "told_sizes", "untrained"]

logger = logging.getLogger(__name__)

Structures = Mapping[str, int | Sequence[int]]


def source_of(data_set: DataSet) -> dict[str, Any]:
    """What a data set says of itself, by which :func:`check_plan` knows it again: ``channels`` and ``structures``."""
    return {"channels": list(data_set.channels), "structures": dict(data_set.structures)}


def is_the_papers(data_set: DataSet, paper: dict[str, Any], layouts: dict[str, list[str] | None]) -> bool:
    """Whether a data set is the paper's, or laid out and labeled like it.

    Args:
        data_set: what was recognized.
        paper: the paper's plan.
        layouts: those of the paper's data set: name -> the structures that it must name, None for any.
    """
    named = layouts.get(data_set.layout, ())
    values = set(data_set.label_values) - {0}
    return (
        (named is None or sorted(named) == sorted(name.lower() for name in data_set.structures))
        and bool(values)
        and values <= set(paper["label_values"])
        and len(data_set.channels or paper["channels"]) == len(paper["channels"])
        and data_set.modality in (None, paper["modality"])
    )


def check_plan(path: Path, plan: Mapping[str, Any], data_set: DataSet, *, bundle: str) -> None:
    """Refuse a plan that is for another data set or another bundle.

    Raises:
        DataError: naming the file and what differs.
    """
    remedy = "remove it, and one for this data is made, or name another folder (RUN=)"
    if plan.get("bundle", bundle) != bundle:
        raise DataError(f"{path}: is the plan of a training of {plan['bundle']}, expected one of {bundle}; {remedy}")
    faults = []
    source, own = plan.get("source") or {}, source_of(data_set)
    for key in ("channels", "structures"):
        if own[key] and source.get(key) and own[key] != source[key]:
            faults.append(f"the {key} {_text(own[key])}, planned are {_text(source[key])}")
    if data_set.channels and len(data_set.channels) != len(plan.get("channels", data_set.channels)):
        faults.append(f"{len(data_set.channels)} channels, planned are {len(plan['channels'])}")
    planned = {*plan.get("label_values", data_set.label_values), plan.get("ignore")} - {None}
    if not set(data_set.label_values) <= planned:
        faults.append(f"label values {data_set.label_values}, planned are {sorted(planned)}")
    if faults:
        raise DataError(f"{path}: the plan is for another data set; this one has {'; '.join(faults)}; {remedy}")


def untrained(structures: Structures, train: Sequence[Mapping[str, Any]], seen: Mapping[str, Seen]) -> None:
    """Refuse a fold whose training cases lack a structure.

    Args:
        structures: name -> label value or values.
        train: the training cases.
        seen: what each case of the data set is like.

    Raises:
        DataError: naming the structure and a case that has it.
    """
    trained = {value for case in train for value in seen[case["case"]].values}
    for name, own in structures.items():
        values = {own} if isinstance(own, int) else {*own}
        if not values & trained:
            having = sorted(case for case, one in seen.items() if values & {*one.values})
            raise DataError(
                f"{name} ({', '.join(map(str, sorted(values)))}) is in none of the {len(train)} training cases, only "
                f"in {', '.join(having[:3])}{', ...' if len(having) > 3 else ''}: choose another fold (--fold 1), add "
                "cases that have it, or do not name it"
            )


def told_sizes(
    cases: Sequence[Mapping[str, Any]], seen: Mapping[str, Seen], decisions: Mapping[str, Any], traits: Traits
) -> None:
    """Refuse cases with less than half of the smallest patch on the planned grid; a warning says which are padded.

    Raises:
        DataError: naming each such case, its file and its size.
    """
    if traits.fixed_grid:  # cases of any size are resized to it
        return
    sizes = {
        case["case"]: [
            round(mm / side) for mm, side in zip(seen[case["case"]].extent_mm, decisions["spacing"], strict=True)
        ]
        for case in cases
    }
    spacing = " x ".join(f"{side:g}" for side in decisions["spacing"])
    tiny = [case for case in cases if min(sizes[case["case"]]) < traits.divisor / 2]
    if tiny:
        named = [f"{files_of(c['image'])[0]} has {_by(sizes[c['case']])} voxels of {spacing} mm" for c in tiny]
        raise DataError(
            f"{len(tiny)} of {len(cases)} cases are smaller than the network's smallest patch, "
            f"{_by([traits.divisor] * 3)} voxels (z, y, x): {'; '.join(named)}; remove them"
        )
    padded = sorted(name for name, size in sizes.items() if min(size) < traits.least)
    if padded and 2 * len(padded) <= len(cases):  # else they are simply of that size
        some = ", ".join(f"{name} ({_by(sizes[name])})" for name in padded[:3]) + (", ..." if len(padded) > 3 else "")
        logger.warning(
            "%d of %d cases have fewer than %d voxels along an axis and are padded: %s",
            len(padded),
            len(cases),
            traits.least,
            some,
        )


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _text(named: Any) -> str:
    return ", ".join(named) if isinstance(named, list) else ", ".join(f"{k} ({v})" for k, v in named.items())
