"""A plan's structures as the channels of a network and the classes of a label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.classes import IGNORED

__all__ = ["PlannedStructures", "planned_structures"]

LEAST_PIECE = 0.1


@dataclass(frozen=True)
class PlannedStructures:
    """How structures are told apart, from their values in a file to a network's channels and back.

    A *class* is what no structure divides: a structure itself, or, where structures overlap (whole tumor, tumor core),
    the voxels that the same structures cover. Class 0 is the background. Label maps hold classes inside a run, and
    the values of the data set in its files.

    Args:
        names: of the structures, in the plan's order.
        output: ``"softmax"``: a channel for every class, background first; ``"sigmoid"``: one for every structure.
        classes: of each structure, those that make it up.
        class_of: value in a file -> class; the ignored value -> :data:`~common.classes.IGNORED`.
        written: of each class, the value in a file.
        painted: with ``"sigmoid"``, (channel, class) in the order in which a label map is made of the channels: of two
            that are both there, the later counts.
        ignored: the ignored value in a file, if there is one.
        regions: what is measured, name -> its classes: structures, and unions of them.
        one_piece: the classes that are of one piece in every patient; none where structures overlap.
    """

    names: tuple[str, ...]
    output: str
    classes: tuple[tuple[int, ...], ...]
    class_of: dict[int, int]
    written: tuple[int, ...]
    painted: tuple[tuple[int, int], ...]
    ignored: int | None
    regions: dict[str, list[int]]
    one_piece: tuple[int, ...]

    @property
    def softmax(self) -> bool:
        """Whether the network's channels are classes that exclude each other, background first."""
        return self.output == "softmax"

    @property
    def single(self) -> bool:
        """Whether there is one structure, and all voxels are known: whatever is not 0 in a label is the structure."""
        return len(self.names) == 1 and self.ignored is None

    @property
    def channels(self) -> int:
        """Channels that the network answers with."""
        return len(self.written) if self.softmax else len(self.names)

    @property
    def maps(self) -> list[list[int]]:
        """The classes of each of the network's channels; of a softmax, those after the background's."""
        return [[own] for own in range(1, len(self.written))] if self.softmax else list(map(list, self.classes))

    @property
    def allowed(self) -> list[int]:
        """The values that a label may have in its file."""
        return sorted(self.class_of)

    @property
    def known(self) -> dict[int, int]:
        """Value in a file -> class, without the ignored value."""
        return {value: own for value, own in self.class_of.items() if value != self.ignored}

    @property
    def least_piece(self) -> float:
        """Of the largest component's size, what another must have to be a part of what a locator looks for."""
        return 1.0 if self.one_piece and len(self.written) == 2 else LEAST_PIECE


def planned_structures(plan: Mapping[str, Any], label_values: Sequence[int] | None = None) -> PlannedStructures:
    """The structures of a plan.

    Args:
        plan: with ``structures`` (name -> value or values), ``output``, ``ignore``, and ``written_values`` or not:
            the value to write for each structure, in the order of the structures, in which they are painted; also
            ``regions`` that are measured, and ``one_piece``, label values.
        label_values: that labels may have, if these are not the plan's; values of no structure are background, or,
            where there is but one structure, this structure.

    Raises:
        ValueError: where there is no structure, or a region or ``written_values`` has a value of none.
    """
    values = {name: _values(own) for name, own in plan["structures"].items()}
    ignored = plan.get("ignore")
    if len(values) == 1 and ignored is None:
        allowed = plan["label_values"] if label_values is None else label_values
        values = {name: [value for value in allowed if value] for name in values}
    covers: dict[int, tuple[int, ...]] = {}  # value -> the structures that it belongs to
    for n, own in enumerate(values.values()):
        for value in own:
            covers[value] = (*covers.get(value, ()), n)
    if not covers:
        raise ValueError("the plan has no structure")
    parts = list(dict.fromkeys(covers[value] for value in sorted(covers)))  # what each class is covered by
    class_of = {value: parts.index(covers[value]) + 1 for value in sorted(covers)}
    known = {value: 0 for value in [0, *(label_values or plan["label_values"])]} | class_of
    if ignored is not None:
        known[ignored] = IGNORED
    classes = tuple(tuple(dict.fromkeys(class_of[value] for value in own)) for own in values.values())
    order = list(plan.get("written_values") or ()) if plan["output"] == "sigmoid" and len(values) > 1 else []
    regions = values if len(values) == 1 else {name: _values(own) for name, own in plan["regions"].items()}
    if unknown := {value for own in [order, *regions.values()] for value in own} - covers.keys():
        raise ValueError(f"the plan's regions have {sorted(unknown)}, which are values of no structure")
    written = [0] + [max((v for v in covers if class_of[v] == c), default=0) for c in range(1, len(parts) + 1)]
    overlap = any(len(own) > 1 for own in parts)
    painted = [(n, class_of[value]) for n, value in enumerate(order)] or _painted(classes)
    return PlannedStructures(
        names=tuple(values),
        output=plan["output"],
        classes=classes,
        class_of=known,
        written=tuple(written),
        painted=tuple(painted),
        ignored=ignored,
        regions={name: sorted({class_of[value] for value in own}) for name, own in regions.items()},
        one_piece=()
        if overlap
        else tuple(sorted({class_of[value] for value in plan.get("one_piece", ()) if value in class_of})),
    )


def _painted(classes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Structures of more classes first, each as the class that no smaller one has, if there is one."""
    order = sorted(range(len(classes)), key=lambda n: -len(classes[n]))
    painted = []
    for position, n in enumerate(order):
        later = {own for m in order[position + 1 :] for own in classes[m]}
        painted.append((n, next((own for own in classes[n] if own not in later), classes[n][0])))
    return painted


def _values(own: int | Sequence[int]) -> list[int]:
    return [own] if isinstance(own, int) else list(own)
