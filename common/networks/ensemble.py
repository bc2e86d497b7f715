"""Several trainings of one network as one network, of the folds of a cross-validation for instance."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.oss_net import OSSNet

__all__ = ["EnsembleNetwork", "OSSNetEnsemble"]

OUTPUTS = ("softmax", "sigmoid", "probability")


class EnsembleNetwork(nn.Module):
    """The mean probability of its members, in the form in which a single member answers.

    Inferers, thresholds and activations work on it as on one network, and members share the grid: probabilities are
    averaged there, window by window where a window slides.

    Args:
        network: as each member is built; it is copied.
        count: of members.
        output: what the network answers: logits of a ``"softmax"`` over the channels, logits of a ``"sigmoid"`` for
            each channel, or a ``"probability"`` itself (or a linear function of it).

    Attributes:
        members: the networks, which receive the weights of a training each.

    Raises:
        ValueError: for another ``output``, or without members.

    Shape:
        That of the network; float32.
    """

    def __init__(self, network: nn.Module, count: int, *, output: str) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if count < 1:
            raise ValueError("an ensemble needs the folder of at least one training")
        self.members = nn.ModuleList(deepcopy(network) for _ in range(count))
        self.output = output

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return self.mean(member(*inputs, **options) for member in self.members)

    def mean(self, answers: Iterable[Tensor], output: str | None = None) -> Tensor:
        """What the members' mean probability is in their form; one answer at a time is kept.

        Computed with logarithms of probabilities, so that a logit of any size stays finite.

        Args:
            answers: of the members.
            output: what they are; None: the network's ``output``.
        """
        output = output or self.output
        add = torch.add if output == "probability" else torch.logaddexp
        terms = (_terms(answer.float(), output) for answer in answers)
        sums = functools.reduce(lambda one, other: tuple(map(add, one, other)), terms)
        if output == "probability":
            return sums[0] / len(self.members)
        if output == "softmax":
            return sums[0] - math.log(len(self.members))
        return sums[0] - sums[1]


class OSSNetEnsemble(EnsembleNetwork):
    """An :class:`EnsembleNetwork` of :class:`~common.networks.OSSNet`: probabilities are averaged point by point.

    Args:
        network: as each member is built.
        count: of members.
        output: ``"sigmoid"`` or ``"softmax"`` of the points' logits.
    """

    def __init__(self, network: OSSNet, count: int, *, output: str = "sigmoid") -> None:
        super().__init__(network, count, output=output)
        self.out_channels = network.out_channels
        self.size_divisor = network.size_divisor

    def encode(self, scan: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Every member's latent codes, and the mean of their auxiliary segmentations: :meth:`OSSNet.encode`."""
        latents, coarse = zip(*(member.encode(scan) for member in self.members), strict=True)
        return list(latents), None if coarse[0] is None else self.mean(coarse, "sigmoid")

    def decode(self, points: Tensor, patches: Tensor | None, latents: Sequence[Tensor]) -> Tensor:
        """Occupancy of points: :meth:`OSSNet.decode`."""
        pairs = zip(self.members, latents, strict=True)
        return self.mean(member.decode(points, patches, codes) for member, codes in pairs)

    def means(self, volume: Tensor) -> Tensor | None:
        """The same for every member: :meth:`OSSNet.means`."""
        return self.members[0].means(volume)

    def local_patches(self, volume: Tensor, means: Tensor | None, points: Tensor) -> Tensor | None:
        """The same for every member: :meth:`OSSNet.local_patches`."""
        return self.members[0].local_patches(volume, means, points)


def _terms(answer: Tensor, output: str) -> tuple[Tensor, ...]:
    """What is added up: probabilities, or the logarithms of p, and for a sigmoid those of 1 - p too."""
    if output == "probability":
        return (answer,)
    if output == "softmax":
        return (F.log_softmax(answer, dim=1),)
    return F.logsigmoid(answer), F.logsigmoid(-answer)
