"""The abdomen phantom: a made-up patient from the lung bases to the iliac crests, seen by contrast-enhanced CT.

Coordinates are millimeters from the middle of the abdomen: x to the patient's left, y to the back, z to the head (LPS).
Sizes and places are those of a small adult; each case draws them anew, within limits. Brightness is in HU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.phantoms.organs import Canvas, paint_organs
from common.phantoms.shapes import ellipse, ellipsoid, posed_points, smooth_field

__all__ = ["AbdomenPhantom", "abdomen_phantom"]

AIR, LUNG, FAT, MUSCLE, SKIN, CORTEX, MARROW, DISC, CORD = -1000, -840, -105, 58, 20, 650, 190, 80, 35
IN_PLANE = 320.0  # mm, field of view
PADDING = -1024  # HU outside the scanner's round field of view, where it is marked


class AbdomenPhantom(NamedTuple):
    """One made-up patient; the axes of the arrays point to the left, the back and the head (LPS)."""

    image: np.ndarray  # (X, Y, Z) int16, HU, -1024 to 3071
    organs: np.ndarray  # (X, Y, Z) uint8: 1 liver with its tumors, 2 kidneys, 3 spleen, 4 pancreas
    tumor: np.ndarray  # (X, Y, Z) bool: tumors of the liver
    spacing: tuple[float, float, float]  # mm


def abdomen_phantom(seed: int, *, spacing: Sequence[float] | None = None, height: float = 285.0) -> AbdomenPhantom:
    """A contrast CT of a made-up abdomen with 0 to 5 liver tumors of 8 to 42 mm, darker or brighter than the liver.

    Liver, spleen, muscle and stomach wall are about equally bright, and how much contrast medium there is differs from
    case to case, so no threshold finds the liver.

    Args:
        seed: the same seed gives the same voxels, if the other arguments are the same.
        spacing: mm of a voxel to the left, the back and the head; None draws about 2.5 x 2.5 x 2.9, the half of a
            common scan's resolution.
        height: mm of the scanned range, which is centered on the upper belly; at least 48 slices.

    Returns:
        image, labels and voxel size; about 128 x 128 x 100 voxels where neither is given.
    """
    rng = np.random.default_rng(seed)
    in_plane, slices = round(float(rng.uniform(2.4, 2.7)), 2), round(float(rng.uniform(2.8, 3.2)), 2)
    spacing = (in_plane, in_plane, slices) if spacing is None else tuple(spacing)
    shape = tuple(round(mm / side / 4) * 4 for mm, side in zip((IN_PLANE, IN_PLANE, height), spacing, strict=True))
    points = posed_points(rng, shape, spacing)  # (3, X, Y, Z) mm
    points[2] -= 10  # more of the belly than of the chest
    canvas = Canvas(points, np.full(shape, AIR, np.float32), np.zeros(shape, np.uint8))
    wall = _trunk(rng, canvas)
    tumor = paint_organs(rng, canvas, wall)
    _table(rng, canvas.tissue, spacing)
    return AbdomenPhantom(_scan(rng, canvas.tissue), canvas.organs, tumor, spacing)


def _trunk(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Paint skin, fat, muscle, bones, lungs, heart; returns mm to the wall of the belly's inside, negative in it."""
    points, tissue = canvas.points, canvas.tissue
    x, y, z = points
    waist = 1 - 0.06 * np.exp(-(((z + 55) / 45) ** 2))
    outside = ellipse(
        x / waist, np.where(y > 0, 1.1 * y, y) / waist, half=(140, 104)
    )  # mm to the skin, negative inside
    outside += 1.5 * smooth_field(rng, x.shape, waves=6)
    fat = rng.uniform(7, 22) * (1 + 0.25 * np.cos(2 * np.arctan2(y, x)) + 0.06 * smooth_field(rng, x.shape, waves=4))
    tissue[outside < 0] = SKIN
    tissue[outside < -2.5] = FAT
    tissue[outside < -fat] = MUSCLE
    inner = outside + fat + 11  # mm to the inside of the muscular wall
    tissue[(np.abs(inner - 5) < 0.9) & (y < 55) & (z < 20)] = FAT + 60  # between the layers of the oblique muscles
    tissue[inner < 0] = FAT + 8 * smooth_field(rng, x.shape, waves=12)[inner < 0]
    lungs = _diaphragm(rng, points)  # mm above it
    _chest(rng, canvas, inner, lungs)
    for side in (-1, 1):
        tissue[ellipsoid(points, center=(side * 33, 66, -20), radii=(27, 18, 190)) < 0] = (
            MUSCLE  # erectors of the spine
        )
        psoas = ellipsoid(points, center=(side * 40, 42, -110), radii=(19, 19, 95), degrees=(0, side * 5, 0))
        tissue[psoas < 0] = MUSCLE + 3
        iliac = ellipsoid(points, center=(side * 62, 30, -165), radii=(50, 46, 58), degrees=(0, 0, side * 35))
        wing = (np.abs(iliac + 4) < 4.5) & (y > -25) & (side * x > 45) & (inner < 4)
        tissue[wing] = np.where(np.abs(iliac + 4) < 2.2, MARROW, 0.7 * CORTEX)[wing]
    _ribs(rng, canvas, outside + fat + 6)
    _spine(rng, canvas)
    return np.maximum(inner, lungs)


def _diaphragm(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Height in mm above the diaphragm: a dome over the liver, a lower one on the left, a saddle under the heart."""
    x, y, z = points
    top = rng.uniform(78, 92)
    right = top - 80 * ((x + 56) / 74) ** 2 - 85 * ((y + 10) / 72) ** 2
    left = top - rng.uniform(6, 14) - 80 * ((x - 62) / 65) ** 2 - 90 * ((y - 5) / 70) ** 2
    saddle = top - 16 - 30 * (x / 50) ** 2 - 30 * ((y + 34) / 45) ** 2
    return z - np.maximum(np.maximum(right, left), saddle)


def _chest(rng: np.random.Generator, canvas: Canvas, inner: np.ndarray, lungs: np.ndarray) -> None:
    """Lungs with vessels, the heart in its fat, and the diaphragm as a thin muscle."""
    points, tissue = canvas.points, canvas.tissue
    x, y, _ = points
    tissue[(inner < 0) & (np.abs(lungs + 1.5) < 2)] = MUSCLE
    lung = (inner < -1) & (lungs > 0)
    vessels = smooth_field(rng, x.shape, waves=44)
    tissue[lung] = LUNG + 40 * rng.uniform(-1, 1) + 700 * np.clip(vessels[lung] - 1.9, 0, 1)
    middle = np.minimum(ellipse(x - 4, y - 18, half=(27, 26)), ellipse(x, y + 62, half=(22, 30)))
    tissue[lung & (middle < 0)] = FAT
    heart = ellipsoid(points, center=(20, -34, 108), radii=(56, 42, 44), degrees=(0, 0, 20), reach=8)
    tissue[(lungs > -1) & (inner < -1) & (heart < 5)] = FAT
    tissue[(lungs > 2) & (inner < -2) & (heart < 0)] = 110
    for center, radii in (((42, -42, 108), (26, 20, 30)), ((-8, -42, 110), (22, 20, 32))):
        chamber = ellipsoid(points, center=center, radii=radii, degrees=(0, 0, 20), reach=1)
        tissue[(lungs > 4) & (chamber < 0)] = rng.uniform(130, 190)


def _ribs(rng: np.random.Generator, canvas: Canvas, depth: np.ndarray) -> None:
    """Ribs in the wall, falling from back to front at about 35 degrees, and the end of the breastbone."""
    x, y, z = canvas.points
    turn = (z - 0.7 * y + rng.uniform(0, 30)) / 30  # one rib for each whole number
    off = (turn - np.rint(turn)) * 30 * 0.8  # mm across the rib
    rib = np.hypot(off / 6.5, depth / 4.2)
    margin = 0.9 * np.abs(x) - 70  # the arch of the lowest ribs
    there = (z > -margin - 10) & (z - 0.7 * y > -60) & (y < 62) & ((y > -60) | (np.abs(x) > 55))
    canvas.tissue[there & (rib < 1)] = 0.75 * CORTEX
    canvas.tissue[there & (rib < 0.6)] = MARROW
    sternum = np.hypot(np.maximum(np.abs(x) - 12, 0) / 5, depth / 5)
    canvas.tissue[(sternum < 1) & (y < -40) & (z > 85)] = MARROW + 60


def _spine(rng: np.random.Generator, canvas: Canvas) -> None:
    """Vertebrae with discs, canal, pedicles and processes."""
    x, y, z = canvas.points
    tissue = canvas.tissue
    turn = (z + rng.uniform(0, 34)) / 34
    off = np.abs(turn - np.rint(turn))  # 0 in the middle of a vertebra, 0.5 in that of a disc
    body = ellipse(x, y - 38, half=(22, 17)) + 3 * (off < 0.25)  # waisted
    arch = (off < 0.33) & (np.hypot(x, y - 62) < 14.5) & (y > 50)
    process = (off < 0.3) & (np.abs(x) < 3.5) & (y > 72) & (y < 88)
    wings = (off < 0.14) & (np.abs(x) < 42) & (np.abs(y - 58) < 3.5)
    tissue[arch | process | wings] = 0.6 * CORTEX
    disc = off > 0.4
    tissue[(body < 0) & disc] = DISC
    tissue[(body < 0) & ~disc] = CORTEX * 0.75
    inside = (body < -2) & (off < 0.36)
    tissue[inside] = MARROW * rng.uniform(0.8, 1.2) + 25 * smooth_field(rng, x.shape, waves=40)[inside]
    tissue[np.hypot(x, y - 62) < 9] = FAT + 60
    tissue[np.hypot(x, y - 62) < 7] = CORD


def _table(rng: np.random.Generator, tissue: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """Paint the scanner's curved table under the patient, a shell around foam; it does not turn with the patient."""
    bottom = int(np.flatnonzero((tissue > -500).any((0, 2)))[-1])  # the back touches it
    x = (np.arange(tissue.shape[0]) - (tissue.shape[0] - 1) / 2) * spacing[0]
    y = (np.arange(tissue.shape[1]) - bottom - 1) * spacing[1]
    below = y[None, :] + (x[:, None] / 24) ** 2 - 6  # (X, Y) mm under its surface
    thick = rng.uniform(22, 30)
    free = tissue < -500
    free &= ((below > 0) & (below < thick) & (np.abs(x[:, None]) < 140))[..., None]
    free[:, : bottom - 14] = False
    edge = np.minimum(np.abs(below - 2), np.abs(below - thick + 2))  # mm from the middle of the shell
    brightness = -930 + 1000 * np.clip(1.4 - edge / spacing[1], 0, 1)[..., None]
    tissue[free] = np.broadcast_to(brightness, tissue.shape)[free]


def _scan(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Partial volume, mottle, noise that is stronger in the middle, and the field of view; (X, Y, Z) int16."""
    from scipy.ndimage import gaussian_filter

    shape = tissue.shape
    signal = gaussian_filter(tissue, (0.6, 0.6, 0.5))
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2]]
    radius = np.hypot(axes[0][:, None], axes[1][None, :])[..., None]  # (X, Y, 1), 1 at the edge
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (0.7, 0.7, 0.3))
    signal += rng.uniform(8, 15) / noise.std() * noise * (1.25 - 0.5 * np.minimum(radius, 1))
    if rng.random() < 0.5:
        signal = np.where(radius > 1, np.float32(PADDING), signal)
    return np.clip(np.rint(signal), -1024, 3071).astype(np.int16)
