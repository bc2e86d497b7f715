"""Occupancy on a grid of voxels, computed only where a strategy asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["OUTPUTS", "Candidates", "Evaluate", "Field", "coarse_to_fine", "dense", "unravel"]

Evaluate = Callable[[Tensor], Tensor]
"""Points ``(n, 3)``, int64 voxel indices, to logits ``(K, n)``."""

Candidates = Callable[[Sequence[Tensor], int], Tensor]
"""Voxel indices along each axis, and their stride, to a bool array: which points of that lattice may be occupied."""

BLOCK = 2**20  # voxels whose indices are made at a time
STRIDES = (4, 2, 1)
OUTPUTS = ("sigmoid", "softmax")  # a logit with the threshold 0 for each structure or region; or one for each class


def unravel(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """Flat indices ``(n,)`` of an array of ``shape`` as points ``(n, 3)``."""
    return torch.stack(torch.unravel_index(flat, tuple(shape)), dim=1)


class Field:
    """Logits of a grid, each voxel's evaluated at most once in a round, ``max_points`` at a time.

    Args:
        evaluate: the occupancy of points.
        shape: (D, H, W) of the grid.
        channels: K.
        output: ``"sigmoid"``: each channel is a structure or region, which is where its logit is above 0;
            ``"softmax"``: the channels are classes, the first the background, of which the largest logit counts.
        max_points: how many points are evaluated at a time.
        device: of the grid.
        background: magnitude of the logits where nothing was evaluated and nothing is occupied: ``background`` for a
            softmax's class 0, ``-background`` for all else.

    Attributes:
        logits: ``(K, D, H, W)``, float32.
        rounds: how many points were evaluated in each round.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        shape: Sequence[int],
        *,
        channels: int = 1,
        output: str = "sigmoid",
        max_points: int = 2**14,
        device: torch.device | str = "cpu",
        background: float = 30.0,
    ) -> None:
        self.evaluate = evaluate
        self.shape = tuple(shape)
        self.output = output
        self.max_points = max_points
        self.logits = torch.full((channels, *self.shape), -background, device=device)
        if output == "softmax":
            self.logits[0] = background
        self.rounds: list[int] = []

    @property
    def device(self) -> torch.device:
        """Where the grid is."""
        return self.logits.device

    def next_round(self) -> None:
        """What is evaluated from now on counts as another round."""
        self.rounds.append(0)

    def evaluate_points(self, flat: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Evaluate voxels, a part at a time.

        Args:
            flat: ``(n,)``, flat indices.

        Yields:
            Indices ``(m,)`` and logits ``(K, m)``, which the grid has by then.
        """
        grid = self.logits.view(len(self.logits), -1)
        for part in flat.split(self.max_points) if len(flat) else ():
            logits = self.evaluate(unravel(part, self.shape)).to(grid.dtype)
            grid[:, part] = logits
            self.rounds[-1] += len(part)
            yield part, logits

    def occupied(self, logits: Tensor) -> Tensor:
        """Which points ``(K, n)`` are of any structure: bool ``(n,)``."""
        return logits.argmax(dim=0) > 0 if self.output == "softmax" else (logits > 0).any(dim=0)

    def lattice(self, stride: int) -> list[Tensor]:
        """Voxel indices 0, stride, 2 stride ... along each axis."""
        return [torch.arange(0, n, stride, device=self.device) for n in self.shape]

    def flat(self, axes: Sequence[Tensor], chosen: Tensor | None = None) -> Tensor:
        """Flat indices of the points of a lattice, or of those chosen by a bool array of its shape."""
        z, y, x = axes
        indices = (z[:, None, None] * self.shape[1] + y[:, None]) * self.shape[2] + x
        return indices.flatten() if chosen is None else indices[chosen]


def dense(field: Field, candidates: Candidates | None = None) -> None:
    """Evaluate every voxel, or every candidate, in one round."""
    field.next_round()
    z, y, x = field.lattice(1)
    planes = max(1, BLOCK // math.prod(field.shape[1:]))
    for part in z.split(planes):
        axes = [part, y, x]
        for _ in field.evaluate_points(field.flat(axes, None if candidates is None else candidates(axes, 1))):
            pass


def coarse_to_fine(field: Field, candidates: Candidates | None = None) -> None:
    """The published code's search: strides of 4, 2 and 1 voxels, each around what the one before found (section 8.3).

    A point counts once it was found occupied; nothing is taken as occupied without evaluation. Structures that no point
    of stride 4 hits are lost, and thin ends with them.

    Args:
        field: receives the answer.
        candidates: restrict the first stride.
    """
    found = torch.zeros(field.shape, dtype=torch.bool, device=field.device)
    for stride in STRIDES:
        axes = field.lattice(stride)
        lattice = found[::stride, ::stride, ::stride]  # holds all that was found, since coarser lattices are part of it
        if stride == STRIDES[0]:
            chosen = None if candidates is None else candidates(axes, stride)
        else:
            chosen = _dilate(lattice, (3**stride - 1) // 2 // stride) & ~lattice
        field.next_round()
        for part, logits in field.evaluate_points(field.flat(axes, chosen)):
            found.view(-1)[part] = field.occupied(logits)


def _dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask by a cube, axis after axis."""
    grown = mask[None, None].float()
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * radius + 1, radius
        grown = F.max_pool3d(grown, kernel, stride=1, padding=padding)
    return grown[0, 0] > 0
