"""The brain phantom: a made-up patient's brain with a tumor, seen by four kinds of magnetic resonance imaging.

Coordinates are millimeters from the middle of the brain: x to the patient's left, y to the back, z to the head (LPS).
Sizes are those of an adult; each case draws them anew, within limits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from common.phantoms.shapes import ellipsoid, posed_points, smooth_field, tube

__all__ = ["BrainPhantom", "brain_phantom"]

SHAPE, SPACING = (60, 60, 40), (3.9, 3.9, 4.2)  # voxels and mm, of every case, as those of BraTS have one grid
CORE, EDEMA, ENHANCING = 1, 2, 4  # labels of BraTS
OUTSIDE, FLUID, GRAY, WHITE, DEEP_GRAY, HALO, VESSEL, NECROSIS, SOLID, SWOLLEN, RIM = range(11)
# Brightness in FLAIR, T1, T1 with contrast medium, T2, relative to each other within a contrast.
BRIGHTNESS = {
    OUTSIDE: (0.0, 0.0, 0.0, 0.0),
    FLUID: (0.16, 0.26, 0.26, 1.05),
    GRAY: (0.65, 0.54, 0.56, 0.62),
    WHITE: (0.50, 0.76, 0.78, 0.44),
    DEEP_GRAY: (0.57, 0.62, 0.64, 0.53),
    HALO: (0.86, 0.64, 0.66, 0.64),  # of old age, around ventricles and in spots: no tumor
    VESSEL: (0.45, 0.50, 1.15, 0.40),  # sinuses and large veins: no tumor
    NECROSIS: (0.50, 0.33, 0.34, 0.98),
    SOLID: (0.80, 0.42, 0.46, 0.84),  # core that takes up no contrast medium
    SWOLLEN: (0.90, 0.52, 0.53, 0.86),
    RIM: (0.82, 0.52, 1.18, 0.76),
}
LABELS = {NECROSIS: CORE, SOLID: CORE, SWOLLEN: EDEMA, RIM: ENHANCING}
WITHOUT_RIM = 0.2  # fraction of the tumors that take up no contrast medium


class BrainPhantom(NamedTuple):
    """One made-up patient; the axes of the arrays point to the left, the back and the head (LPS)."""

    image: np.ndarray  # (4, X, Y, Z) int16: FLAIR, T1, T1 with contrast medium, T2; 0 outside the brain
    label: np.ndarray  # (X, Y, Z) uint8: 1 necrotic or solid core, 2 edema, 4 enhancing tumor
    spacing: tuple[float, float, float]  # mm


def brain_phantom(seed: int) -> BrainPhantom:
    """Four contrasts of a made-up brain without skull, with one tumor of 30 to 95 mm across, edema included.

    The tumor is a core that is dark in T1, within a rim that is bright in T1 with contrast medium, within an edema
    that is bright in FLAIR and T2; one in five has no rim. What is as bright as it elsewhere: fluid in T2, veins in T1
    with contrast medium, spots and halos of old age around the ventricles in FLAIR.

    Args:
        seed: the same seed gives the same voxels.

    Returns:
        image, label and voxel size: 60 x 60 x 40 voxels of 3.9 x 3.9 x 4.2 mm, about BraTS's field of view.
    """
    rng = np.random.default_rng(seed)
    points = posed_points(rng, SHAPE, SPACING)  # (3, X, Y, Z) mm
    tissue, surface, ventricles = _brain(rng, points)
    _tumor(rng, points, tissue, surface, ventricles)
    label = np.zeros(SHAPE, np.uint8)
    for kind, value in LABELS.items():
        label[tissue == kind] = value
    return BrainPhantom(_scan(rng, tissue), label, SPACING)


def _brain(rng: np.random.Generator, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissues, mm to the brain's surface (negative inside), and mm to the ventricles, each (X, Y, Z)."""
    x, y, z = points
    wide, long, high = rng.uniform((62, 80, 56), (70, 90, 64))
    taper = 1 + 0.0012 * y  # narrower in front
    hemispheres = ellipsoid(
        np.stack([x / taper, y, np.where(z < 0, 1.35 * z, z)]), center=(0, 0, 4), radii=(wide, long, high)
    )
    parts = [hemispheres]
    for side in (-1, 1):
        temporal = ellipsoid(points, center=(side * 0.62 * wide, -16, -32), radii=(20, 36, 18), degrees=(8, 0, 0))
        parts.append(temporal)
    cerebellum = ellipsoid(points, center=(0, 46, -44), radii=(46, 30, 24))
    stem = tube(points, ((0, 6, -18), (0, 12, -40), (0, 26, -74)), radii=(14, 9), reach=8)
    surface = np.minimum.reduce([*parts, cerebellum, stem])
    folds = smooth_field(rng, SHAPE, waves=26)
    crevices = np.abs(folds) < 0.22  # sulci: sheets between the folds
    depth = -surface
    tissue = np.full(SHAPE, OUTSIDE, np.uint8)
    tissue[surface < 0] = GRAY
    tissue[depth > 8.5 + 4 * folds] = WHITE
    below = (cerebellum < 0) & (hemispheres > -2)
    tissue[below] = np.where(np.abs(smooth_field(rng, SHAPE, waves=30)) < 0.7, GRAY, WHITE)[below]
    tissue[(stem < 0) & (hemispheres > -4)] = WHITE
    tissue[(surface < 0) & crevices & (depth < 11)] = FLUID
    midline = (np.abs(x + 1.5 * smooth_field(rng, SHAPE, waves=4)) < 2.2) & (z > -6)
    tissue[midline & (surface < 0) & ((z > 26) | (np.abs(y) > 44))] = FLUID
    tissue[(np.abs(cerebellum) < 2.2) & (hemispheres > -3) & (surface < -2)] = FLUID  # under the tentorium
    for side in (-1, 1):
        for center, radii in (((12, 10, 2), (9, 14, 9)), ((25, -8, 2), (7, 19, 11)), ((14, -26, 8), (5, 10, 9))):
            tissue[ellipsoid(points, center=(side * center[0], *center[1:]), radii=radii) < 0] = DEEP_GRAY
        fissure = ellipsoid(points, center=(side * 0.72 * wide, -8, -8), radii=(14, 24, 2.2), degrees=(18, 0, 0))
        tissue[(fissure < 0) & (surface < 0)] = FLUID
    ventricles = _ventricles(rng, points)
    tissue[(ventricles < rng.uniform(2, 6)) & (tissue == WHITE) & (np.abs(y) > 22)] = HALO
    tissue[(smooth_field(rng, SHAPE, waves=18) > rng.uniform(2.4, 3.4)) & (tissue == WHITE)] = HALO
    tissue[ventricles < 0] = FLUID
    _veins(tissue, points, surface)
    return tissue, surface, ventricles


def _ventricles(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Distance in mm to the fluid-filled chambers, negative inside; their size differs most of all between patients."""
    size = rng.uniform(0.75, 1.5)
    distance = ellipsoid(points, center=(0, 4, -4), radii=(3, 13, 9))  # the third
    for side in (-1, 1):
        front, back, horn = ((side * a, b, c) for a, b, c in ((9, -38, 8), (14, 22, 20), (24, 50, 4)))
        body = tube(points, (front, (side * 12, -8, 26), back), radii=(5.5 * size, 5 * size), reach=8)
        rear = tube(points, (back, (side * 24, 34, 14), horn), radii=(5 * size, 3 * size), reach=8)
        temporal = tube(points, (back, (side * 34, 20, -12), (side * 30, -8, -24)), radii=(4 * size, 2), reach=8)
        distance = np.minimum.reduce([distance, body, rear, temporal])
    return np.minimum(distance, ellipsoid(points, center=(0, 30, -40), radii=(6, 7, 10)))  # the fourth


def _veins(tissue: np.ndarray, points: np.ndarray, surface: np.ndarray) -> None:
    """The sinus along the midline and across above the cerebellum, which hold contrast medium."""
    x, y, z = points
    sinus = (np.abs(x) < 3.5) & (z > 20) & (surface < 1) & (surface > -6)
    across = (np.abs(z + 20 - 0.1 * np.abs(x)) < 4) & (y > 40) & (surface < 1) & (surface > -6)
    tissue[sinus | across] = VESSEL


def _tumor(
    rng: np.random.Generator, points: np.ndarray, tissue: np.ndarray, surface: np.ndarray, ventricles: np.ndarray
) -> None:
    """Paint edema, then core and rim, around a point in the cerebrum, deeper than half the core's radius."""
    core = float(rng.uniform(11, 25))  # mm, radius
    reach = core + float(rng.uniform(5, 22))  # of the edema
    x, _, z = points
    allowed = (tissue == WHITE) | (tissue == GRAY)
    deep = allowed & (surface < -0.5 * core - 4) & (ventricles > 3) & (np.abs(x) > 14) & (z > -24)
    place = np.argwhere(deep)[rng.integers(deep.sum())]
    center = points[:, *place]
    stretch = rng.uniform(0.8, 1.25, 3)
    turn = tuple(rng.uniform(0, 180, 3))
    lumps = smooth_field(rng, SHAPE, waves=9)
    inside = surface < -1
    spread = ellipsoid(points, center=tuple(center), radii=tuple(reach * stretch), degrees=turn)
    spread += 3.5 * lumps + 5 * smooth_field(rng, SHAPE, waves=12)
    swells = inside & ((tissue == WHITE) | (tissue == HALO) | ((tissue == GRAY) & (spread < -6)))  # along white matter
    mass = ellipsoid(points, center=tuple(center), radii=tuple(core * stretch), degrees=turn)
    mass += 0.12 * core * lumps
    tissue[(spread < 0) & swells] = SWOLLEN
    tissue[(mass < 7) & inside & (ventricles > 1)] = SWOLLEN
    solid = (mass < 0) & inside & (ventricles > -2)
    tissue[solid] = SOLID
    if rng.random() < WITHOUT_RIM:
        return
    thick = rng.uniform(4.5, 7) * (1 + 0.3 * smooth_field(rng, SHAPE, waves=10))  # mm
    tissue[solid] = NECROSIS
    tissue[solid & (mass > -thick)] = RIM


def _scan(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Partial volume, texture, uneven coils and noise, in each contrast's own scale; (4, X, Y, Z) int16."""
    from scipy.ndimage import gaussian_filter

    brain = tissue != OUTSIDE
    texture = smooth_field(rng, SHAPE, waves=28)
    contrasts = []
    for contrast in range(4):
        values = np.array([BRIGHTNESS[kind][contrast] for kind in range(len(BRIGHTNESS))], np.float32)
        values *= 1 + 0.05 * rng.standard_normal(len(values), dtype=np.float32)  # each patient's and scanner's own
        signal = gaussian_filter(values[tissue], 0.45) / np.maximum(
            gaussian_filter(brain.astype(np.float32), 0.45), 0.3
        )
        signal *= 1 + 0.04 * texture + 0.03 * smooth_field(rng, SHAPE, waves=28)
        signal *= np.exp(rng.uniform(0.06, 0.14) * smooth_field(rng, SHAPE, waves=3))
        noise = rng.uniform(0.025, 0.05) * rng.standard_normal((2, *SHAPE), dtype=np.float32)
        magnitude = np.hypot(signal + noise[0], noise[1])
        gain = 10 ** rng.uniform(2.4, 3.1)
        contrasts.append(np.where(brain, np.maximum(np.rint(gain * magnitude), 1), 0))
    return np.stack(contrasts).astype(np.int16)
