"""Where is the structure? A network on a coarse grid answers with a box."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from common.checkpoints import load_weights
from common.transforms.boxes import Box, mask_box, soft_sum_box
from common.transforms.coarse_grid import coarse_shape, pad_to_multiple, resize_area, spacing_of

__all__ = ["Locator"]

RULES = ("threshold", "soft_sum")


class Locator:
    """Box of a structure from a coarse segmentation.

    Args:
        network: maps ``(1, 1, d, h, w)`` to one logit map; put into evaluation mode.
        weights: file of its weights; None takes the network as it is.
        spacing: mm of a coarse voxel, (D, H, W); (1.25, 2.5, 2.5) for the left atrium, which is the original's
            (0.5, 0.25, 0.25) of 0.625 mm.
        normalise: ``(1, d, h, w)`` coarse volume -> network input; None leaves raw intensities, as the original does.
        rule: ``"threshold"``: box of the largest component of probability >= 0.5; ``"soft_sum"``: the original's rule,
            see :func:`~common.transforms.soft_sum_box`.
        inferer: how the network runs, mixed precision for example.
        device: where the network runs.
        divisor: the network's multiple.

    Raises:
        FileNotFoundError: if ``weights`` does not exist, with the command that trains them.

    Called with a ``(1, D, H, W)`` volume (with its affine, for the voxel size) it returns a
    :class:`~common.transforms.Box` in that volume's voxels, or None where nothing was found.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        weights: str | Path | None = None,
        spacing: Sequence[float] = (1.25, 2.5, 2.5),
        normalise: Callable[[Tensor], Tensor] | None = None,
        rule: str = "threshold",
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
        divisor: int = 16,
    ) -> None:
        if rule not in RULES:
            raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
        self.fingerprint = ""
        if weights is not None:
            if not Path(weights).is_file():
                raise FileNotFoundError(
                    f"{weights}: the locator's weights are missing; train them first with "
                    "`python -m monai.bundle run training --config_file configs/train_locator.json`, "
                    "or train without a locator (--crop none or --crop label)"
                )
            load_weights(weights, network)
            self.fingerprint = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        self.network = network.to(device).eval()
        self.spacing = tuple(spacing)
        self.normalise = normalise
        self.rule = rule
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.device = torch.device(device)
        self.divisor = divisor

    @torch.no_grad()
    def __call__(self, volume: Tensor) -> Box | None:
        frame = tuple(volume.shape[1:])
        shape = coarse_shape(frame, spacing_of(volume), self.spacing)
        coarse = pad_to_multiple(resize_area(volume.to(self.device), shape), self.divisor)
        if self.normalise is not None:
            coarse = self.normalise(coarse)
        logits = self.inferer(coarse[None], self.network)[0, 0]  # (d, h, w)
        probability = torch.sigmoid(logits.float())[tuple(slice(0, n) for n in shape)]
        if self.rule == "soft_sum":
            box = soft_sum_box(probability)
        else:
            box = mask_box(probability >= 0.5, largest_component=True)
        return None if box is None else box.regridded(shape, frame)
