"""Random crops around the box of the labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from monai.transforms import MapTransform, RandomizableTransform, SpatialCrop
from torch import Tensor

from common.transforms.boxes import Box
from common.transforms.coarse_grid import spacing_of
from common.transforms.crop import LabelBox

__all__ = ["RandLabelBoxCropd"]


class RandLabelBoxCropd(RandomizableTransform, MapTransform):
    """Crop to the labels' box with a margin, or with one that is drawn for each of the six faces.

    With m = ``int(reach / voxel size)`` per axis, a drawn face moves by a whole number of voxels r, uniform in
    [floor(-m / 3), m). The upper faces move outwards by r. The lower ones move *inwards* by r, as in the training of
    EfficientSegNet's published weights: they cut off up to ``reach`` mm of the organs' lower, posterior and left side.
    ``symmetric`` moves them outwards too. Faces stay inside the volume; a crop that would be empty is replaced by the
    fixed one.

    Args:
        keys: items of shape ``(C, D, H, W)``, all on the label's grid.
        margin: mm of the fixed crop, see :class:`~common.transforms.LabelBox`.
        reach: mm by which a face moves at most.
        symmetric: lower faces move like upper ones.
        prob: of drawn faces, instead of the fixed crop.
        label_key: item of shape ``(1, D, H, W)``; where it is empty, the whole volume is the box.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        margin: float = 20.0,
        reach: float = 40.0,
        symmetric: bool = False,
        prob: float = 0.5,
        label_key: Hashable = "label",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.margin = margin
        self.reach = reach
        self.symmetric = symmetric
        self.label_key = label_key
        self.box = Box((), ())

    def randomize(self, label: Tensor) -> None:
        """Draw ``box``, the voxels to keep of a label ``(1, D, H, W)``."""
        super().randomize(None)
        shape = tuple(label.shape[1:])
        self.box = LabelBox(self.margin)(label) or Box.whole(shape)
        if not self._do_transform:
            return
        tight = LabelBox()(label) or Box.whole(shape)
        start, stop = [], []
        for a, b, n, side in zip(tight.start, tight.stop, shape, spacing_of(label), strict=True):
            m = int(self.reach / side)
            lower, upper = (int(r) for r in self.R.randint(-m // 3, max(m, 1), size=2))
            start.append(max(0, a - lower if self.symmetric else a + lower))
            stop.append(min(n, b - 1 + upper))
        if all(a < b for a, b in zip(start, stop, strict=True)):
            self.box = Box(tuple(start), tuple(stop))

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        self.randomize(out[self.label_key])
        crop = SpatialCrop(roi_start=self.box.start, roi_end=self.box.stop)
        for key in self.key_iterator(out):
            out[key] = crop(out[key])
        return out
