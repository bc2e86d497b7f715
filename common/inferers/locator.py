"""Where is the structure? A network on a coarse grid answers with a box."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import ensure_tuple
from torch import Tensor, nn

from common import kernels
from common.checkpoints import load_weights
from common.costs import timed
from common.inferers.finite import check_finite
from common.networks import EnsembleNetwork
from common.transforms.boxes import Box
from common.transforms.coarse_grid import spacing_of

__all__ = ["Locator"]


class Locator:
    """Box of a structure from a coarse segmentation.

    Args:
        network: maps ``(1, C, d, h, w)`` to logits ``(1, K, d, h, w)``; put into evaluation mode.
        grid: puts the volume on the coarse grid: :class:`~common.transforms.SpacingGrid` or
            :class:`~common.transforms.FixedGrid`.
        box: makes the box of the logits: :class:`~common.transforms.LargestComponentBox` (which explains the call),
            :class:`~common.transforms.SoftSumBox` or :class:`~common.transforms.OrganBox`.
        weights: file of the network's weights; None takes it as it is. Several files: those of an ensemble, whose mean
            probability counts.
        normalize: ``(C, d, h, w)`` coarse volume -> network input; None leaves raw intensities.
        inferer: how the network runs, mixed precision for example.
        device: where the network runs. The coarse grid is made where the volume lies.

    Raises:
        FileNotFoundError: if ``weights`` does not exist, with the command that trains them.
        ValueError: if a logit is not finite: the structure would pass for not found.

    Called with a ``(C, D, H, W)`` volume (with its affine, for the voxel size) it returns a
    :class:`~common.transforms.Box` in that volume's voxels, or None where nothing was found.

    Example:
        >>> locator = Locator(network, grid=SpacingGrid((2.5, 2.5, 2.5)), box=LargestComponentBox())
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        grid: Callable[[Tensor], tuple[Tensor, tuple[int, ...]]],
        box: Callable[[Tensor, Sequence[int], Sequence[float]], Box | None],
        weights: str | Path | Sequence[str | Path] | None = None,
        normalize: Callable[[Tensor], Tensor] | None = None,
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.fingerprint = ""
        files = [] if weights is None else [Path(file) for file in ensure_tuple(weights)]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(
                    f"{file}: the weights of the first of two stages are missing; train them first with "
                    f"`python -m monai.bundle run training --config_file configs/train_{file.stem}.json`"
                )
        if len(files) > 1:
            network = EnsembleNetwork(network, len(files), output="sigmoid")
        if files:
            load_weights(files, network)
            self.fingerprint = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        self.network = kernels.on_device(network, device, kernels=kernels.enabled()).eval()
        self.grid = grid
        self.box = box
        self.normalize = normalize
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.device = torch.device(device)

    @torch.no_grad()
    def __call__(self, volume: Tensor) -> Box | None:
        with timed("coarse"):
            coarse, (d, h, w) = self.grid(volume)
            coarse = coarse.to(self.device)
            if self.normalize is not None:
                coarse = self.normalize(coarse)
            logits = torch.as_tensor(self.inferer(coarse[None], self.network))[0]  # (K, d, h, w), padded
        check_finite(logits)
        with timed("coarse_postprocessing"):
            return self.box(logits.float()[:, :d, :h, :w], tuple(volume.shape[1:]), spacing_of(volume))
