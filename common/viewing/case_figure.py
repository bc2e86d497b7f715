"""The picture of one case: three planes through what matters, in the patient's orientation and in true proportion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from monai.data.utils import affine_to_spacing
from monai.transforms.utils import generate_spatial_bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "PLANES", "bar_length", "box_with_margin", "draw_case", "gray_limits"]

MARGIN_MM = 20.0  # shown around the structures
COLORS = {"reference": "cyan", "prediction": "orange"}  # told apart by color-blind people too


@dataclass(frozen=True)
class Plane:
    """How a plane of a volume (R, A, S) is shown: as radiologists do, the patient's right on the left."""

    name: str
    normal: int  # the axis it is perpendicular to; the other two run to the right and up, in their order
    positive: str  # where the normal axis points
    letters: tuple[str, str, str, str]  # left, right, bottom, top of the picture

    @property
    def axes(self) -> tuple[int, int]:
        """The axes that run horizontally (mirrored, all three planes) and up."""
        return tuple(a for a in range(3) if a != self.normal)

    def cut(self, volume: np.ndarray, index: int) -> np.ndarray:
        """The plane (rows, columns) at ``index``, first row at the bottom."""
        return np.moveaxis(volume, self.normal, 0)[index][::-1].T  # a view: np.take copies a box cut out of a volume


PLANES = (
    Plane("axial", 2, "S", ("R", "L", "P", "A")),
    Plane("coronal", 1, "A", ("R", "L", "I", "S")),
    Plane("sagittal", 0, "R", ("A", "P", "I", "S")),
)


def draw_case(
    image: np.ndarray,
    prediction: np.ndarray,
    reference: np.ndarray | None,
    *,
    affine: np.ndarray,
    title: str,
    window: Sequence[float] | None = None,
) -> Figure:
    """Gray image with the contours of reference and prediction, cut to the structures and a margin.

    The planes meet in the middle of the thickest difference; where there is none, or no reference, each goes through
    the prediction's largest area.

    Args:
        image: (X, Y, Z) in R, A, S order.
        prediction: label map of the same shape.
        reference: label map of the same shape, or None.
        affine: (4, 4), voxel to mm, of all three.
        title: one line or several.
        window: intensities shown black and white; None: the 0.5th and 99.5th percentiles of what is shown.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    spacing = np.array(affine_to_spacing(affine, r=3), dtype=float)
    masks = {"reference": reference, "prediction": prediction}
    masks = {name: mask for name, mask in masks.items() if mask is not None}
    start, end = box_with_margin(np.any([mask != 0 for mask in masks.values()], axis=0), spacing)
    box = tuple(slice(a, b) for a, b in zip(start, end, strict=True))
    image, masks = image[box], {name: mask[box] for name, mask in masks.items()}
    center = _center(masks["prediction"], masks.get("reference"), spacing)

    sides = image.shape * spacing  # mm
    widths, heights = ([float(sides[plane.axes[i]]) for plane in PLANES] for i in (0, 1))
    figure = Figure(figsize=_size(widths, heights, title), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=widths)
    limits = gray_limits(image, window)
    for plane, panel in zip(PLANES, panels, strict=True):
        index = center[plane.normal]
        _show_image(panel, plane.cut(image, index), limits, spacing[list(plane.axes)])
        for name, mask in masks.items():
            _show_contours(panel, plane.cut(mask, index), COLORS[name], spacing[list(plane.axes)])
        _show_letters(panel, plane.letters)
        _show_scale(panel, float(sides[plane.axes[0]]))
        position = (affine @ [*np.add(start, center), 1.0])[plane.normal]
        panel.set_title(f"{plane.name}, {plane.positive} = {position:.1f} mm", fontsize=10)
    handles = [Line2D([], [], color=COLORS[name], label=name) for name in masks]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, facecolor="black", labelcolor="white")
    figure.suptitle(title, fontsize=11)
    return figure


def box_with_margin(mask: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) voxel of the mask and its margin, within the image; of all of it where it is empty."""
    start, end = generate_spatial_bounding_box(mask[None]) if mask.any() else ((0, 0, 0), mask.shape)
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    return np.maximum(np.array(start) - margin, 0), np.minimum(np.array(end) + margin, mask.shape)


def _center(prediction: np.ndarray, reference: np.ndarray | None, spacing: np.ndarray) -> list[int]:
    """The voxel whose three planes are shown."""
    import edt

    if reference is not None and (different := prediction != reference).any():
        depth = edt.edt(different, anisotropy=tuple(spacing), black_border=True)
        deepest = np.argwhere(depth >= depth.max() * 0.999)  # (n, 3): a plate has many
        off_middle = np.linalg.norm((deepest - deepest.mean(axis=0)) * spacing, axis=1)
        return deepest[off_middle.argmin()].tolist()
    if not prediction.any():
        return [n // 2 for n in prediction.shape]
    areas = [np.count_nonzero(prediction, axis=plane.axes) for plane in sorted(PLANES, key=lambda p: p.normal)]
    return [int(area.argmax()) for area in areas]


def gray_limits(image: np.ndarray, window: Sequence[float] | None) -> tuple[float, float]:
    """The intensities shown black and white: ``window``, or the 0.5th and 99.5th percentiles of ``image``."""
    if window is not None:
        low, high = window
    else:
        values = image[np.isfinite(image)]
        low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def _size(widths: list[float], heights: list[float], title: str) -> tuple[float, float]:
    """Inches: panels side by side on one scale, 12 wide if that is not too tall, and room for the texts."""
    scale = min(12 / sum(widths), 7 / max(heights))
    texts = 1.1 + 0.2 * (title.count("\n") + 1)
    return max(scale * sum(widths), 6.0) + 0.6, scale * max(heights) + texts


def _show_image(panel: Axes, plane: np.ndarray, limits: tuple[float, float], spacing: np.ndarray) -> None:
    rows, columns = plane.shape
    panel.imshow(
        plane,
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        extent=(0, columns * spacing[0], 0, rows * spacing[1]),
        interpolation="nearest",
    )
    panel.set_axis_off()


def _show_contours(panel: Axes, plane: np.ndarray, color: str, spacing: np.ndarray) -> None:
    rows, columns = plane.shape[0] + 2, plane.shape[1] + 2
    x, y = (np.arange(columns) - 0.5) * spacing[0], (np.arange(rows) - 0.5) * spacing[1]  # of voxel centers, in mm
    for value in np.unique(plane[plane != 0]):
        inside = np.pad(plane == value, 1).astype(float)  # contours close at the image's border
        panel.contour(x, y, inside, levels=[0.5], colors=[color], linewidths=1.3)


def _show_letters(panel: Axes, letters: tuple[str, str, str, str]) -> None:
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
    places += ((0.5, 0.02, "center", "bottom"), (0.5, 0.98, "center", "top"))
    for letter, (x, y, horizontal, vertical) in zip(letters, places, strict=True):
        _text(panel, x, y, letter, ha=horizontal, va=vertical, color="yellow")


def bar_length(width: float) -> int:
    """Length of the scale bar, a round number of mm, at most a third of ``width`` mm."""
    return max((n for n in (1, 2, 5, 10, 20, 50, 100, 200) if n <= width / 3), default=1)


def _show_scale(panel: Axes, width: float) -> None:
    length = bar_length(width)
    x, y = 0.05 * width, 0.05 * panel.get_ylim()[1]
    panel.plot([x, x + length], [y, y], color="white", linewidth=3, solid_capstyle="butt")
    _text(panel, x, y, f"{length} mm", xycoords="data", xytext=(0, 4), ha="left", va="bottom", color="white")


def _text(panel: Axes, x: float, y: float, text: str, **kwargs: object) -> None:
    from matplotlib.patheffects import withStroke

    place = {"xycoords": "axes fraction", "xytext": (0, 0), "textcoords": "offset points", "fontsize": 9, **kwargs}
    panel.annotate(text, (x, y), path_effects=[withStroke(linewidth=2, foreground="black")], **place)
