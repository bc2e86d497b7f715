"""The frames of one case's animation: axial slices from the feet to the head, in the patient's orientation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from monai.data.utils import affine_to_spacing

from common.viewing.case_figure import COLORS, PLANES, bar_length, box_with_margin, gray_limits

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["draw_frames"]

GRAYS = 60  # with the colors 64: six bits for a pixel, before compression
PIXELS = 2_400_000  # of all frames together: noise hardly compresses, and a file is to stay below 2 MB
WIDEST, NARROWEST = 420, 240  # pixels
LINE = 13  # pixels, of text
INDEX = {name: GRAYS + i for i, name in enumerate((*COLORS, "white", "yellow"))}


def draw_frames(
    image: np.ndarray,
    prediction: np.ndarray,
    reference: np.ndarray | None,
    *,
    affine: np.ndarray,
    title: Sequence[str],
    window: Sequence[float] | None = None,
    max_frames: int = 50,
) -> list[Image]:
    """Gray slices with the contours of reference and prediction, cut to the structures and a margin.

    Seen as radiologists do, from the feet; pixels are square. Where both contours coincide, they alternate.

    Args:
        image: (X, Y, Z) in R, A, S order.
        prediction: label map of the same shape.
        reference: label map of the same shape, or None.
        affine: (4, 4), voxel to mm, of all three.
        title: lines of text.
        window: intensities shown black and white; None: the 0.5th and 99.5th percentiles of what is shown.
        max_frames: how many slices to draw at most, evenly spread.

    Returns:
        Pictures of one palette and one size.
    """
    spacing = np.array(affine_to_spacing(affine, r=3), dtype=float)
    masks = {"reference": reference, "prediction": prediction}
    masks = {name: mask for name, mask in masks.items() if mask is not None}
    start, end = box_with_margin(np.any([mask != 0 for mask in masks.values()], axis=0), spacing)
    box = tuple(slice(a, b) for a, b in zip(start, end, strict=True))
    image, masks = image[box], {name: mask[box] for name, mask in masks.items()}
    low, high = gray_limits(image, window)

    slices = np.unique(np.linspace(0, image.shape[2] - 1, min(max_frames, image.shape[2])).round().astype(int))
    sides = image.shape[:2] * spacing[:2]  # mm
    scale = min(math.sqrt(PIXELS / len(slices) / sides.prod()), WIDEST / sides.max())  # pixels per mm
    size = tuple(max(1, round(float(side) * scale)) for side in sides)  # columns, rows
    frames = []
    for index in slices:
        axial = PLANES[0].cut(image, index)[::-1]  # first row on top
        gray = np.clip((_resized(axial.astype(np.float32), size) - low) / (high - low), 0, 1)
        pixels = np.nan_to_num(gray * (GRAYS - 1)).round().astype(np.uint8)
        contours = {name: _contour(_resized(PLANES[0].cut(mask, index)[::-1], size)) for name, mask in masks.items()}
        for name, contour in contours.items():
            pixels[contour] = INDEX[name]
        if "reference" in contours:
            alternate = np.add.outer(*(np.arange(n) for n in pixels.shape)) % 8 < 4
            pixels[contours["reference"] & alternate] = INDEX["reference"]
        position = (affine @ [*np.add(start, (0, 0, index)), 1.0])[2]
        frames.append(_framed(pixels, title, f"S = {position:.1f} mm", names=list(masks), scale=scale))
    return frames


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane (rows, columns) of ``size`` pixels: intensities averaged or interpolated, labels (int32) picked."""
    from PIL import Image

    labels = plane.dtype == np.int32
    resampling = Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, resampling))


def _contour(labels: np.ndarray) -> np.ndarray:
    """The outermost pixels of every label: those with a smaller one, or the picture's border, at one of four sides."""
    padded = np.pad(labels, 1)
    smallest = np.minimum.reduce([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    return labels > smallest


def _framed(pixels: np.ndarray, title: Sequence[str], position: str, *, names: list[str], scale: float) -> Image:
    """The slice (rows, columns) with its texts above and below."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(11)
    height, width = pixels.shape
    lines = [part for line in title for part in wrap(line, max(width, NARROWEST) // 6)]
    top = LINE * len(lines) + 4
    frame = Image.new("P", (max(width, NARROWEST), top + height + LINE + 4), 0)
    frame.putpalette(_palette())
    left = (frame.width - width) // 2
    frame.paste(Image.fromarray(pixels), (left, top))  # indices, as they are
    draw = ImageDraw.Draw(frame)
    for i, line in enumerate(lines):
        draw.text((3, 2 + LINE * i), line, fill=INDEX["white"], font=font)
    draw.text((3, top + height + 2), position, fill=INDEX["white"], font=font)
    for i, name in enumerate(reversed(names)):
        x = frame.width - 3 - 70 * i
        draw.text((x, top + height + 2), name, fill=INDEX[name], font=font, anchor="ra")
    middle, center = top + height // 2, left + width // 2
    right, posterior, bottom = left + width - 3, left + 3, top + height - 3
    places = (((posterior, middle), "lm"), ((right, middle), "rm"), ((center, bottom), "md"), ((center, top + 2), "ma"))
    for letter, (place, anchor) in zip(PLANES[0].letters, places, strict=True):
        draw.text(place, letter, fill=INDEX["yellow"], font=font, anchor=anchor)
    length = bar_length(width / scale)
    draw.line([(posterior, bottom), (posterior + length * scale, bottom)], fill=INDEX["white"], width=2)
    draw.text((posterior, bottom - 3), f"{length} mm", fill=INDEX["white"], font=font, anchor="ld")
    return frame


def _palette() -> list[int]:
    """Red, green and blue of every index."""
    from PIL import ImageColor

    grays = [(round(255 * i / (GRAYS - 1)),) * 3 for i in range(GRAYS)]
    return [c for color in (*grays, *map(ImageColor.getrgb, (*COLORS.values(), "white", "yellow"))) for c in color]
