"""Random brightness of normalized intensities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

__all__ = ["RandGainGammad"]


class RandGainGammad(RandomizableTransform, MapTransform):
    """With some probability, ``sign(v) * gain * |v|^gamma`` with a gain and a gamma for each channel (Vox2Vox).

    For intensities around zero, z-scores for instance: the sign stays, and so do zeros. MONAI's ``RandAdjustContrast``
    applies its gamma between minimum and maximum instead.

    Args:
        keys: items of shape ``(C, *spatial)``, floats.
        prob: probability of a change.
        gain: range of the gains, positive; uniform.
        gamma: range of the exponents, positive; uniform.

    Raises:
        ValueError: for ranges that are none, or not positive.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        prob: float = 0.5,
        gain: Sequence[float] = (0.8, 1.2),
        gamma: Sequence[float] = (0.8, 1.2),
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        for name, limits in (("gain", gain), ("gamma", gamma)):
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise ValueError(f"RandGainGammad: {name} is a range of positive numbers, low to high, got {limits}")
        self.gain = tuple(gain)
        self.gamma = tuple(gamma)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return out
        for key in self.key_iterator(out):
            volume = out[key]
            gain, gamma = (
                torch.as_tensor(self.R.uniform(*limits, len(volume)), dtype=volume.dtype).reshape(-1, 1, 1, 1)
                for limits in (self.gain, self.gamma)
            )
            out[key] = volume.abs().pow_(gamma).mul_(gain).copysign_(volume)
        return out
