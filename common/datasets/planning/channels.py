"""What a network's channels stand for: one structure, classes, or regions that overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["channels_of"]


def channels_of(
    structures: Mapping[str, int | Sequence[int]], order: Sequence[int]
) -> tuple[dict[str, Any], dict[str, str]]:
    """``output``, ``output_values`` and ``written_values`` of a plan, and the reasons.

    Args:
        structures: name -> label value, or the values of a region.
        order: of regions that overlap: the label value to write for each, painted in this order.

    Returns:
        ``output``: ``"sigmoid"`` of one structure, or of regions that overlap, ``"softmax"`` of classes;
        ``output_values``: the label values of each channel, with a softmax the background first;
        ``written_values``: the label value that an answer's file gets for each channel.
    """
    values = [list(own) if isinstance(own, list | tuple) else [own] for own in structures.values()]
    every = [value for own in values for value in own]
    if len(every) != len(set(every)):
        found = {"output": "sigmoid", "output_values": values, "written_values": list(order)}
        return found, {"output": "structures are regions that overlap: each has a channel of its own"}
    written = [own[0] for own in values]
    if len(values) == 1:
        found = {"output": "sigmoid", "output_values": values, "written_values": written}
        return found, {"output": "one structure against the background"}
    found = {"output": "softmax", "output_values": [[0], *values], "written_values": [0, *written]}
    return found, {"output": "structures do not overlap: a class for each, and one for the background"}
