"""Linear rescaling of intensities."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence

from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensity
from torch import Tensor

__all__ = ["RescaleIntensityd"]


class RescaleIntensityd(MapTransform):
    """Map each volume's own minimum and maximum to ``minv`` and ``maxv``, exactly; float32.

    As :class:`monai.transforms.ScaleIntensityd`, but a constant volume stays as it is, with a warning that names its
    file (MONAI multiplies it by ``minv`` in silence).

    Args:
        keys: items of shape ``(C, *spatial)``; channels share one range.
        minv: value of the smallest voxel.
        maxv: value of the largest voxel.
    """

    def __init__(self, keys: Sequence[Hashable] | Hashable, minv: float = -1.0, maxv: float = 1.0) -> None:
        super().__init__(keys)
        self.scale = ScaleIntensity(minv, maxv)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            volume = out[key]
            if volume.min() < volume.max():
                out[key] = self.scale(volume)
            else:
                meta = volume.meta if isinstance(volume, MetaTensor) else {}
                name = meta.get("filename_or_obj", key)
                warnings.warn(f"{name}: all voxels are {float(volume.max()):g}; not rescaled", stacklevel=2)
        return out
