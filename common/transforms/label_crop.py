"""Random patches whose center voxel's class follows given probabilities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform, MultiSampleTrait, Randomizable, SpatialCrop
from monai.utils import convert_to_numpy, ensure_tuple_rep
from torch import Tensor

__all__ = ["LabelProbabilityCropd"]


class LabelProbabilityCropd(Randomizable, MapTransform, MultiSampleTrait):
    """Draw patches whose center voxel has class c with exactly the probability asked for (TorchIO's ``LabelSampler``).

    The center of a patch of p voxels is its voxel ``p // 2``; only centers whose patch lies inside the volume count. A
    class without such a voxel leaves its probability to the others, in proportion to theirs; inside a class every such
    voxel is equally likely. Draws are independent. :class:`monai.transforms.RandCropByLabelClassesd` instead draws
    from all voxels and then moves centers inside, so that near the rim their class may be another.

    It looks at the label as it is given, so it may follow random transforms: counting the classes of a 256x256x200
    label takes a few milliseconds and no more memory than a slice, so that there is nothing to cache.

    Args:
        keys: items of shape ``(C, *spatial)``, all on the label's grid.
        label_key: item of shape ``(1, *spatial)`` that holds classes, of any type.
        spatial_size: sides of a patch in voxels, one for all axes or each.
        probabilities: class to probability (JSON's text keys are understood), in any unit: their sum is made 1. Classes
            that are not named are never a center.
        num_samples: patches from each volume.

    Returns:
        ``num_samples`` dictionaries: patches are copies with their own affine, other items deep copies.

    Raises:
        ValueError: naming the label's file, for a patch longer than the volume, a label of several channels, or no
            voxel of any wanted class that could be a center; and at once, for probabilities that are none.

    Example::

        >>> crop = LabelProbabilityCropd(["image", "label"], "label", spatial_size=96,
        ...     probabilities={"0": 0.2, "1": 0.3, "2": 0.5}, num_samples=5)
        >>> patches = crop({"image": image, "label": label})
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        label_key: Hashable,
        *,
        spatial_size: Sequence[int] | int,
        probabilities: Mapping[str | int, float],
        num_samples: int = 1,
    ) -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.spatial_size = spatial_size
        self.classes = [int(label) for label in probabilities]
        self.probabilities = np.array(list(probabilities.values()), dtype=float)
        if not np.isfinite(self.probabilities.sum()) or (self.probabilities < 0).any() or not self.probabilities.any():
            raise ValueError(f"LabelProbabilityCropd: probabilities must be >= 0 and not all 0, got {probabilities}")
        self.num_samples = num_samples
        self.starts: list[tuple[int, ...]] = []

    def randomize(self, label: Tensor) -> None:
        """Draw ``starts``, the first voxel of every patch, for a label ``(1, *spatial)``."""
        shape, name = tuple(label.shape[1:]), _name(label)
        size = ensure_tuple_rep(self.spatial_size, len(shape))
        if len(label) != 1:
            raise ValueError(f"{name}: the label has {len(label)} channels, expected one that holds the classes")
        if any(p > n for p, n in zip(size, shape, strict=True)):
            raise ValueError(f"{name}: patches of {size} voxels do not fit into {shape}; pad the volume first")
        # Voxel i of the admissible region is the center of the patch that starts at voxel i of the volume.
        inside = tuple(slice(p // 2, n - (p - 1) // 2) for p, n in zip(size, shape, strict=True))
        region = convert_to_numpy(label)[0][inside]
        # (classes, slabs): which slab a class's k-th voxel lies in, without a list of all of them
        counts = np.array([[np.count_nonzero(slab == c) for slab in region] for c in self.classes])
        totals = counts.sum(axis=1)
        weights = np.where(totals > 0, self.probabilities, 0.0)
        if not weights.any():
            raise ValueError(
                f"{name}: no voxel of the classes {self.classes} can be the center of a patch of {size} voxels in "
                f"{shape}; is it the right label, and large enough?"
            )
        self.starts = []
        for i in self.R.choice(len(totals), size=self.num_samples, p=weights / weights.sum()):
            k = self.R.randint(totals[i])
            ends = np.cumsum(counts[i])
            slab = int(np.searchsorted(ends, k, side="right"))
            voxel = np.flatnonzero(region[slab] == self.classes[i])[k - ends[slab] + counts[i, slab]]
            self.starts.append((slab, *(int(v) for v in np.unravel_index(voxel, region.shape[1:]))))

    def __call__(self, data: Mapping[Hashable, Tensor]) -> list[dict[Hashable, Tensor]]:
        self.randomize(data[self.label_key])
        size = ensure_tuple_rep(self.spatial_size, len(self.starts[0]))
        patches = []
        for start in self.starts:
            crop = SpatialCrop(roi_start=start, roi_end=[s + p for s, p in zip(start, size, strict=True)])
            patch = {key: deepcopy(value) for key, value in data.items() if key not in self.keys}
            # copies: a view would keep the whole volume in memory
            patch.update({key: crop(data[key]).clone() for key in self.key_iterator(data)})
            patches.append(patch)
        return patches


def _name(label: Tensor) -> str:
    """The label's file, where it is known."""
    meta = label.meta if isinstance(label, MetaTensor) else {}
    return str(meta.get("filename_or_obj", "label"))
