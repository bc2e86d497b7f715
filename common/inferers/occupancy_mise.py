"""Multiresolution isosurface extraction (Mescheder et al., CVPR 2019, section 3.3) on grids of any shape."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.inferers.occupancy_field import Candidates, Field, unravel

__all__ = ["mise"]

BACKGROUND = 0  # the answer where no structure is


@dataclass
class Level:
    """Cells of one size: which of them are leaves, and the smallest and largest answer among the points of each."""

    side: int  # of a cell, in steps of the lattice
    leaf: Tensor  # bool
    low: Tensor  # int8 or int64
    high: Tensor  # the same

    @classmethod
    def of(cls, shape: Sequence[int], side: int, dtype: torch.dtype, device: torch.device) -> Level:
        leaf = torch.zeros(*shape, dtype=torch.bool, device=device)
        low = torch.full_like(leaf, torch.iinfo(dtype).max, dtype=dtype)
        return cls(side, leaf, low, torch.full_like(low, BACKGROUND - 1))

    def learn(self, points: Tensor, low: Tensor, high: Tensor) -> None:
        """Points ``(n, 3)`` of known answer, to all cells that they lie in or on: up to eight each."""
        last = torch.tensor(self.leaf.shape, device=points.device) - 1
        cell, on_border = points // self.side, points % self.side == 0
        for lower in itertools.product((0, 1), repeat=3):
            step = torch.tensor(lower, device=points.device)
            candidate = cell - step
            valid = ((on_border | (step == 0)) & (candidate >= 0) & (candidate <= last)).all(dim=1)
            z, y, x = candidate[valid].T
            flat = (z * self.leaf.shape[1] + y) * self.leaf.shape[2] + x
            self.low.view(-1).scatter_reduce_(0, flat, low[valid], "amin")
            self.high.view(-1).scatter_reduce_(0, flat, high[valid], "amax")

    def take_active(self) -> Tensor:
        """Leaves among whose points answers differ, ``(m, 3)``; they are leaves no longer."""
        active = self.leaf & (self.high > self.low)
        self.leaf &= ~active
        return active.nonzero()


def mise(field: Field, candidates: Candidates | None = None, *, depth: int = 3) -> None:
    """Evaluate a coarse lattice, and finer ones only where the answer changes (specification, section 8.1).

    Cells of ``2 ** depth`` voxels are split into eight as long as the answers at the evaluated points in or on them
    differ, points that belong to finer neighbors included. The answer is the class of the largest logit; or which
    structures and regions a point is in, of which a logit of exactly 0 says both. What was never evaluated takes the
    logits of the point before it along the first axis, then the second, then the third. Structures that lie between the
    points of the coarse lattice are lost.

    The lattice covers the grid: n voxels along an axis get ``ceil((n - 1) / 2 ** depth)`` cells, so that every voxel is
    a point of the finest lattice. Its points beyond the last voxel are background and are not evaluated.

    With ``candidates``, other points of the coarse lattice start as background. They are evaluated after all when a
    cell beside them is split, so that a structure is followed to its end even where it leaves the candidates. (In the
    paper's figure, points inside the marked region start as occupied. The auxiliary segmentation marks 32 x 32 x 32
    voxels when any of them is occupied, so that would be wrong; evaluating these points costs little.)

    Args:
        field: receives the answer; of at most 62 channels with a sigmoid.
        candidates: restrict the first round.
        depth: how often a cell can be split.
    """
    channels = len(field.logits)
    largest = channels if field.output == "softmax" else 2**channels  # above every answer
    dtype = torch.int8 if largest <= torch.iinfo(torch.int8).max else torch.int64
    step = 2**depth
    cells = [max(1, -(-(n - 1) // step)) for n in field.shape]
    size = [n * step + 1 for n in cells]  # points of the finest lattice
    levels = [Level.of([n << i for n in cells], step >> i, dtype, field.device) for i in range(depth)]
    for level in levels[:1]:
        level.leaf.fill_(True)
    asked = torch.zeros(size, dtype=torch.bool, device=field.device)
    wanted = torch.zeros_like(asked)
    known = torch.zeros(field.shape, dtype=torch.bool, device=field.device)

    wanted[::step, ::step, ::step] = True
    if candidates is not None:
        axes = field.lattice(step)
        other = unravel(field.flat(axes, ~candidates(axes, step)), field.shape)
        wanted[tuple(other.T)] = False
        known[tuple(other.T)] = True
        background = torch.full((len(other),), BACKGROUND, dtype=dtype, device=field.device)
        for level in levels:
            level.learn(other, background, background)
    while wanted.any():
        _evaluate(field, wanted, known, levels, dtype)
        asked |= wanted
        wanted.fill_(False)
        while not wanted.any() and _split(levels, wanted):
            wanted &= ~asked
    _fill(field.logits, known)


def _evaluate(field: Field, wanted: Tensor, known: Tensor, levels: list[Level], dtype: torch.dtype) -> None:
    """Evaluate the wanted points of the lattice that are voxels; the others are background."""
    d, h, w = field.shape
    field.next_round()
    for flat, logits in field.evaluate_points(wanted[:d, :h, :w].flatten().nonzero()[:, 0]):
        known.view(-1)[flat] = True
        low, high = (answer.to(dtype) for answer in _answers(logits, field.output))
        for level in levels:
            level.learn(unravel(flat, field.shape), low, high)
    beyond = wanted.clone()
    beyond[:d, :h, :w] = False
    points = beyond.nonzero()
    background = torch.full((len(points),), BACKGROUND, dtype=dtype, device=points.device)
    for level in levels:
        level.learn(points, background, background)


def _answers(logits: Tensor, output: str) -> tuple[Tensor, Tensor]:
    """Smallest and largest answer of each point, as numbers; two where a structure's logit is exactly 0."""
    if output == "softmax":
        best = logits.argmax(dim=0)
        return best, best
    bits = 2 ** torch.arange(len(logits), device=logits.device)[:, None]  # a bit for each structure or region
    return ((logits > 0) * bits).sum(dim=0), ((logits >= 0) * bits).sum(dim=0)


def _split(levels: list[Level], wanted: Tensor) -> bool:
    """Split all active leaves once; marks the points of their children as wanted. Whether there were any."""
    active = [level.take_active() for level in levels]  # all of them first: children wait for the next round
    for i, (level, cells) in enumerate(zip(levels, active, strict=True)):
        for offset in itertools.product((0, 1, 2), repeat=3):
            shift = torch.tensor(offset, device=cells.device)
            wanted[tuple((cells * level.side + shift * (level.side // 2)).T)] = True
            if i + 1 < len(levels) and max(offset) < 2:
                levels[i + 1].leaf[tuple((2 * cells + shift).T)] = True
    return any(len(cells) for cells in active)


def _fill(logits: Tensor, known: Tensor) -> None:
    """Give every voxel that is not known the logits of the one before it, along the first axis, then the others."""
    for axis in range(3):
        planes, has = logits.unbind(axis + 1), known.unbind(axis)
        for i in range(1, len(planes)):
            planes[i].copy_(torch.where(has[i], planes[i], planes[i - 1]))
            has[i].logical_or_(has[i - 1])
