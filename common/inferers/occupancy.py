"""From points to volumes: OSS-Net as an inferer (Reich et al., BMVC 2021, arXiv 2110.10640)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from monai.inferers import Inferer
from torch import Tensor

from common.inferers.finite import check_finite
from common.inferers.occupancy_field import OUTPUTS, Field, coarse_to_fine, dense
from common.inferers.occupancy_mise import mise
from common.inferers.occupancy_start import LowResolutionStart
from common.networks import OSSNet
from common.networks.oss_net.observations import global_observation
from common.transforms.working_grids import working_grid

__all__ = ["OccupancyInferer"]

logger = logging.getLogger(__name__)


class OccupancyInferer(Inferer):
    """Segment whole volumes with :class:`~common.networks.OSSNet`: encode once, then ask for the occupancy of points.

    Patches are cut and points are decoded ``max_points`` at a time, so that memory grows with that number and not with
    the volume. (Variants B and D keep one copy more of the volume.)

    Args:
        strategy: ``"dense"``: every voxel; ``"mise"``: a coarse lattice, refined where the class changes
            (:func:`~common.inferers.occupancy_mise.mise`); ``"coarse_to_fine"``: the published code's search
            (:func:`~common.inferers.occupancy_field.coarse_to_fine`).
        max_points: points that are evaluated at a time.
        depth: of ``"mise"``: its coarse lattice has a step of ``2 ** depth`` voxels.
        start: begin where the auxiliary segmentation points to; variants C and D only. None considers everything.
        working_size: sides of the grid on which the network was trained, in voxels; None takes the volume's.
        placement: how a volume gets there. ``"pad"``: by zeros, half of them (rounded up) before the volume; where
            it is larger, the grid grows to the next multiple of the network's ``size_divisor``. ``"resize"``: by
            trilinear interpolation to ``working_size``, and the answer back; for networks that saw volumes so resized.
        output: what the network's channels are: ``"sigmoid"``, each a structure or region that may overlap others; or
            ``"softmax"``, classes of which the first is the background.

    Attributes:
        evaluated: for each case of the last call, how many points each round evaluated.

    Raises:
        ValueError: for another strategy, ``placement`` or ``output``, ``"resize"`` without ``working_size``, and when
            called with a ``start`` and a network without auxiliary segmentation, or one whose logits are not finite.

    Shape:
        ``(B, C, D, H, W)`` to float32 logits ``(B, K, D, H, W)``; ±30 where nothing was evaluated.

    Example::

        >>> inferer = OccupancyInferer("mise", start=LowResolutionStart(), working_size=(256, 256, 160))
        >>> logits = inferer(image, network)
    """

    def __init__(
        self,
        strategy: str = "mise",
        *,
        max_points: int = 2**14,
        depth: int = 3,
        start: LowResolutionStart | None = None,
        working_size: Sequence[int] | None = None,
        placement: str = "pad",
        output: str = "sigmoid",
    ) -> None:
        super().__init__()
        strategies: dict[str, Callable] = {
            "dense": dense,
            "mise": partial(mise, depth=depth),
            "coarse_to_fine": coarse_to_fine,
        }
        if strategy not in strategies:
            raise ValueError(f"strategy must be one of {', '.join(strategies)}, got {strategy!r}")
        if placement not in ("pad", "resize"):
            raise ValueError(f"placement must be pad or resize, got {placement!r}")
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if placement == "resize" and working_size is None:
            raise ValueError("placement='resize' needs the working_size to which volumes are resized")
        self.strategy = strategy
        self.search = strategies[strategy]
        self.max_points = max_points
        self.start = start
        self.working_size = None if working_size is None else tuple(working_size)
        self.placement = placement
        self.output = output
        self.evaluated: list[list[int]] = []

    def __call__(self, inputs: Tensor, network: OSSNet) -> Tensor:
        network = getattr(network, "module", network)  # DistributedDataParallel has forward alone
        self.evaluated = []
        return torch.stack([self._one(volume, network) for volume in torch.Tensor.as_subclass(inputs, torch.Tensor)])

    def _one(self, volume: Tensor, network: OSSNet) -> Tensor:
        shape = volume.shape[1:]
        if self.placement == "resize":
            volume = F.interpolate(volume[None], self.working_size, mode="trilinear")[0]
        before, size = working_grid(volume.shape[1:], self.working_size, network.size_divisor)
        latents, coarse = network.encode(global_observation(volume[None], before, size))
        candidates = None
        if self.start is not None:
            if coarse is None:
                raise ValueError(
                    "this variant has no auxiliary segmentation to start from: set the inferer's start to null"
                )
            logits = (coarse[0, 1:] if self.output == "softmax" else coarse[0]).float()
            check_finite(logits)
            candidates = self.start(torch.sigmoid(logits), before, size)
        means = network.means(volume)
        first = torch.tensor(before, device=volume.device)

        def evaluate(points: Tensor) -> Tensor:
            patches = network.local_patches(volume, means, points)
            patches = None if patches is None else patches[None]
            logits = network.decode((points + first)[None], patches, latents)[0].float()
            check_finite(logits)
            return logits

        field = Field(
            evaluate,
            volume.shape[1:],
            channels=network.out_channels,
            output=self.output,
            max_points=self.max_points,
            device=volume.device,
        )
        self.search(field, candidates)
        self._report(field)
        if self.placement == "pad":
            return field.logits
        return F.interpolate(field.logits[None], shape, mode="trilinear")[0]

    def _report(self, field: Field) -> None:
        self.evaluated.append(field.rounds)
        total, voxels = sum(field.rounds), math.prod(field.shape)
        rounds = " + ".join(f"{n:,}" for n in field.rounds)
        logger.info("%s: %s = %s points evaluated, of %s voxels", self.strategy, rounds, f"{total:,}", f"{voxels:,}")
