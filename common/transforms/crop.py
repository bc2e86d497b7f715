"""Cut a crop of a structure out of image and label."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from monai.transforms import MapTransform, SpatialCrop
from torch import Tensor

from common.classes import foreground
from common.transforms.boxes import Box, centered_box, mask_box
from common.transforms.coarse_grid import spacing_of

__all__ = ["CropToBoxd", "LabelBox", "box_source"]


class LabelBox:
    """The bounding box of all of a label's structures, for training without a locator; None where there is none.

    Args:
        margin: mm added on every side, in whole voxels, inside the volume. The upper ends get a voxel less, as
            EfficientSegNet's published weights were trained.
    """

    source_key = "label"

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def __call__(self, label: Tensor) -> Box | None:
        box = mask_box(foreground(label[0]))
        if box is None:
            return None
        margins = [int(self.margin / side) for side in spacing_of(label)]
        start = [max(0, a - m) for a, m in zip(box.start, margins, strict=True)]
        stop = [min(n, max(b, b - 1 + m)) for b, m, n in zip(box.stop, margins, label.shape[1:], strict=True)]
        return Box(tuple(start), tuple(stop))


def box_source(crop: str, locator: Callable[[], Callable]) -> Callable[[Tensor], Box | None] | None:
    """What finds the box for a resolved ``crop`` of the plan: what ``locator`` makes, the label, or nothing."""
    return {"locator": locator, "label": LabelBox, "none": lambda: None}[crop]()


class CropToBoxd(MapTransform):
    """Crop all keys to a box of a common size around the box that ``locate`` finds in one of them.

    The training twin of :class:`~common.inferers.CoarseToFineInferer`: same box, cut out of image and label alike.

    Args:
        keys: items of shape ``(C, D, H, W)``, all on one grid.
        locate: ``(C, D, H, W)`` -> :class:`~common.transforms.Box` or None (box centered on the volume); a
            :class:`~common.inferers.Locator` looks at ``"image"``, a :class:`LabelBox` at ``"label"``. None leaves
            everything as it is.
        size: sides of the box in voxels; None takes the box as it is.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        locate: Callable[[Tensor], Box | None] | None = None,
        *,
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__(keys)
        self.locate = locate
        self.size = None if size is None else tuple(size)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        if self.locate is None:
            return out
        source = out[getattr(self.locate, "source_key", "image")]
        shape = source.shape[1:]
        box = self.locate(source) or Box.whole(shape)
        if self.size is not None:
            box = centered_box(box, self.size, shape)
        crop = SpatialCrop(roi_start=box.start, roi_end=box.stop)
        for key in self.key_iterator(out):
            out[key] = crop(out[key])
        return out
