"""Cut the window of a structure out of image and label."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from monai.transforms import MapTransform, SpatialCrop
from torch import Tensor

from common.transforms.boxes import Box, centred_window, mask_box

__all__ = ["CropToBoxd", "LabelBox", "box_source"]


class LabelBox:
    """The bounding box of the label itself, for training without a locator; None where the label is empty."""

    source_key = "label"

    def __call__(self, label: Tensor) -> Box | None:
        return mask_box(label[0])


def box_source(crop: str, locator: Callable[[], Callable]) -> Callable[[Tensor], Box | None] | None:
    """What finds the box for a resolved ``crop`` of the fit: what ``locator`` makes, the label, or nothing."""
    return {"locator": locator, "label": LabelBox, "none": lambda: None}[crop]()


class CropToBoxd(MapTransform):
    """Crop all keys to the window of a common size around the box that ``locate`` finds in one of them.

    The training twin of :class:`~common.inferers.CoarseToFineInferer`: same window, cut out of image and label alike.

    Args:
        keys: items of shape ``(C, D, H, W)``, all on one grid.
        locate: ``(C, D, H, W)`` -> :class:`~common.transforms.Box` or None (window centred on the volume); a
            :class:`~common.inferers.Locator` looks at ``"image"``, a :class:`LabelBox` at ``"label"``. None leaves
            everything as it is.
        size: sides of the window in voxels; None takes the box as it is.
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
        frame = source.shape[1:]
        box = self.locate(source) or Box.whole(frame)
        if self.size is not None:
            box = centred_window(box, self.size, frame)
        crop = SpatialCrop(roi_start=box.start, roi_end=box.stop)
        for key in self.key_iterator(out):
            out[key] = crop(out[key])
        return out
