"""A training step of OSS-Net (Reich et al., BMVC 2021): volumes are varied on the device, then asked for points."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

__all__ = ["PointTrainingInferer"]


class PointTrainingInferer(Inferer):
    """Run another inferer on the volumes of a batch, varied at random, and the points drawn in each.

    For MONAI's ``SupervisedTrainer`` with ``PrepareBatchExtraInput(["points", "box"])``. Brightness and noise are
    drawn on the volumes' device, from torch's random state: on the CPU, case after case, the noise of a BraTS volume
    takes longer than the training step on a GPU. As in the authors' code each of the two happens with probability
    ``prob``, to the whole volume, air included, but not to the zeros around it on the working grid.

    Args:
        inferer: does the work; a plain forward pass by default.
        brightness: to each channel a fraction of its maximum, from -brightness to brightness, is added.
        noise: standard deviation of the noise that is added to every voxel, in the volume's units.
        prob: of either.

    Shape:
        volumes ``(B, C, D, H, W)`` of any floating type, points ``(B, N, 3)``, and the place of each volume on the
        working grid ``(B, 2, 3)`` (:class:`~common.transforms.PadToWorkingGridd`), to what the inferer gives for the
        float32 volumes and the points.
    """

    def __init__(
        self, inferer: Inferer | None = None, *, brightness: float = 0.15, noise: float = 0.15, prob: float = 0.5
    ) -> None:
        super().__init__()
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.brightness = brightness
        self.noise = noise
        self.prob = prob

    def __call__(
        self, inputs: Tensor, network: nn.Module, points: Tensor, box: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        volumes = torch.Tensor.as_subclass(inputs, torch.Tensor).to(torch.float32, copy=True)
        for volume, (first, behind) in zip(volumes, box.tolist(), strict=True):
            inside = volume[(slice(None), *map(slice, first, behind))]  # a view
            if torch.rand(()) < self.prob:
                fractions = torch.empty(len(inside), 1, 1, 1).uniform_(-self.brightness, self.brightness)
                inside += fractions.to(inside.device) * inside.amax(dim=(1, 2, 3), keepdim=True)
            if torch.rand(()) < self.prob:
                for channel in inside:
                    channel += self.noise * torch.randn_like(channel)
        return self.inferer(volumes, network, points, *args, **kwargs)
