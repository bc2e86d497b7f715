"""Groups of cases that stay in one fold, such as the scans of one patient."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence

import ignite.distributed as idist
import numpy as np

__all__ = ["COLUMN", "Groups", "assigned", "grouped"]

logger = logging.getLogger(__name__)

COLUMN = "column"

Groups = dict[str, list[str]]
"""Name of a group -> its cases, both sorted."""


def grouped(datalist: Sequence[dict], groups: str | None) -> Groups:
    """The groups of the cases.

    Args:
        datalist: items with a ``case``.
        groups: a regular expression with one group in parentheses, which is the patient's part of a case's name
            wherever it occurs there, such as ``"(patient\\d+)_"``; ``"column"``: each item says it under ``group``;
            None: each case is a group of its own. A case whose name does not match is one too.

    Raises:
        ValueError: if the expression is none, has not one group, or matches no case; if an item lacks its ``group``.

    Example:
        >>> grouped([{"case": "a1_x"}, {"case": "a1_y"}, {"case": "b"}], r"(a\\d)_")
        {'a1': ['a1_x', 'a1_y'], 'b': ['b']}
    """
    names = sorted(str(item["case"]) for item in datalist)
    if groups is None:
        return {name: [name] for name in names}
    if groups == COLUMN:
        without = sorted(str(item["case"]) for item in datalist if item.get("group") in (None, ""))
        if without:
            raise ValueError(f"groups=column: {len(without)} cases have no group in the data list ({without[0]}, ...)")
        of = {str(item["case"]): str(item["group"]) for item in datalist}
    else:
        of = _by_pattern(names, groups)
    found: Groups = {}
    for name in names:
        found.setdefault(of[name], []).append(name)
    return dict(sorted(found.items()))


def assigned(groups: Mapping[str, Sequence[str]], folds: int, *, seed: int, first: Collection[str] = ()) -> list:
    """Distribute groups to folds of about equal numbers of cases: the largest first, each to the smallest fold.

    Args:
        groups: name -> cases.
        folds: how many, at most as many as groups.
        seed: decides among groups of equal size.
        first: groups that are distributed before the others, so that each fold has about as many of their cases.

    Returns:
        The cases of each fold, sorted.
    """
    order = sorted(groups)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda name: (name not in first, -len(groups[name])))
    blocks: list[list[str]] = [[] for _ in range(folds)]
    for name in order:
        min(blocks, key=len).extend(groups[name])
    return [sorted(block) for block in blocks]


def _by_pattern(names: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"groups={pattern}: no regular expression ({error})") from None
    if expression.groups != 1:
        raise ValueError(
            f"groups={pattern}: has {expression.groups} groups in parentheses, expected one, around what names the "
            r"patient in a case's name, such as (patient\d+)_"
        )
    found = {name: match for name in names if (match := expression.search(name)) and match[1]}
    if not found:
        raise ValueError(f"groups={pattern}: matches no case's name, such as {', '.join(names[:3])}")
    if len(found) < len(names) and idist.get_rank() == 0:
        logger.warning(
            "groups=%s: does not match %d of %d cases; each of them is a group of its own",
            pattern,
            len(names) - len(found),
            len(names),
        )
    return {name: found[name][1] if name in found else name for name in names}
