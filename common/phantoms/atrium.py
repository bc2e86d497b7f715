"""The left-atrium phantom: a heart in a chest, seen by late-enhancement MRI.

Coordinates are millimeters from the middle of the chest: x to the patient's left, y to the back, z to the head (LPS).
Sizes and places are those of a small chest as seen on axial images; each case draws them anew, within limits.
"""

from __future__ import annotations

import numpy as np

from common.phantoms.shapes import ellipse, ellipsoid, posed_points, smooth_field, tube

__all__ = ["atrium_phantom"]

# Brightness in late enhancement, relative: blood and scar bright, nulled myocardium and lung dark.
AIR, LUNG, MYOCARDIUM, MUSCLE, LIVER, FAT, MARROW, BLOOD, SCAR = 0.0, 0.07, 0.2, 0.3, 0.42, 0.5, 0.4, 0.68, 1.15
SPACING = (1.25, 1.25, 2.5)  # mm
VEIN_LABEL_MM = 9.0  # veins belong to the label up to this distance from the atrial body
WALL_MM = 2.6  # atrial wall, thick enough to show at 2.5 mm slices

# name: start, control point and end of the curve (mm), radius at start and end (mm)
VEINS = (
    ((14, 4, 14), (28, 6, 18), (48, 18, 22), 6.5, 4.5),  # left superior
    ((14, 6, -4), (28, 7, -6), (46, 20, -12), 6.0, 4.0),  # left inferior
    ((-14, 4, 13), (-28, 4, 18), (-48, 8, 24), 6.5, 4.5),  # right superior
    ((-14, 7, -3), (-28, 10, -5), (-46, 24, -10), 6.0, 4.0),  # right inferior
)
APPENDAGE = ((17, -5, 11), (29, -6, 16), (33, -23, 15), 7.5, 4.0)
VESSELS = (
    ((20, 25, -70), (18, 27, 0), (17, 24, 70), 9.5, 9.5),  # descending aorta
    ((6, -16, -8), (-6, -24, 10), (-6, -20, 70), 11.0, 11.0),  # aortic root and ascending aorta
    ((16, -33, -6), (16, -26, 14), (14, -8, 34), 9.5, 9.0),  # pulmonary trunk
    ((14, -8, 34), (-4, 2, 36), (-40, 4, 32), 8.0, 6.0),  # right pulmonary artery
    ((-28, -9, 14), (-27, -8, 24), (-22, -10, 70), 7.5, 7.0),  # superior vena cava
)


def atrium_phantom(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A late-enhancement MR volume of a made-up chest, with its left atrium.

    The blood of all heart chambers and great vessels is about equally bright, so no threshold finds the atrium. As in
    real scans the brightness scale differs from case to case: the volume's mean lies between 6 and 75.

    Args:
        seed: the same seed gives the same voxels.

    Returns:
        image (X, Y, Z) uint8, at most 128 x 128 x 40; label (X, Y, Z) uint8, 0 or 255; spacing in mm.
        The axes point to the patient's left, back and head (LPS), as in the challenge's files.
    """
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(29, 33)) * 4, int(rng.integers(29, 33)) * 4, int(rng.integers(36, 41)))
    tissue, atrium = _paint_chest(rng, shape, SPACING)
    image = _scan(rng, tissue)
    return image, np.where(atrium, np.uint8(255), np.uint8(0)), SPACING


def _scan(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Blur, texture, coil shading, Rician noise (Gudbjartsson and Patz 1995) and gain; (X, Y, Z) uint8."""
    from scipy.ndimage import gaussian_filter

    shape = tissue.shape
    signal = gaussian_filter(tissue, (0.6, 0.6, 0.35))  # partial volume
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (0.8, 0.8, 0.4))
    signal *= 1 + 0.06 * grain / grain.std()
    signal *= np.exp(0.18 * smooth_field(rng, shape, waves=3))
    sigma = BLOOD * rng.uniform(0.07, 0.13)
    real, imaginary = sigma * rng.standard_normal((2, *shape), dtype=np.float32)
    magnitude = np.hypot(signal + real, imaginary)
    gain = np.exp(rng.uniform(np.log(6), np.log(75))) / magnitude.mean()
    return np.clip(np.rint(magnitude * gain), 0, 255).astype(np.uint8)


def _paint_chest(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple:
    """Draw one chest.

    Args:
        rng: source of pose, sizes and shapes.
        shape: voxels (X, Y, Z), axes to the left, the back and the head.
        spacing: voxel size in mm.

    Returns:
        tissue (X, Y, Z) float32, relative brightness 0 (air) to 1.15 (scar); atrium (X, Y, Z) bool.
    """
    points = posed_points(rng, shape, spacing)  # (3, X, Y, Z) mm
    tissue = _trunk(rng, points)
    _heart(rng, points, tissue)
    atrium = _left_atrium(rng, points, tissue)
    return tissue, atrium


def _trunk(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Skin, fat, muscle, ribs, lungs with vessels, mediastinal fat, liver dome and spine; (X, Y, Z) brightness."""
    x, y, z = points
    tissue = np.full(x.shape, AIR, np.float32)
    outside = ellipse(x, y, half=(75, 57))  # mm to the skin, negative inside
    fat = rng.uniform(4, 8)
    tissue[outside < 0] = FAT * 1.25
    tissue[outside < -fat] = MUSCLE
    # Ribs run obliquely: where a slice meets one, a dark cortex around brighter marrow.
    angle = np.arctan2(y, x)
    rib = np.cos(12 * angle + 0.25 * z + rng.uniform(0, 6)) - ((outside + fat + 5) / 3) ** 2
    tissue[rib > 0.0] = 0.12
    tissue[rib > 0.55] = MARROW
    lung = outside < -(fat + 9)
    vessels = smooth_field(rng, x.shape, waves=34)
    tissue[lung] = LUNG + 0.3 * np.clip(vessels[lung] - 1.7, 0, 1)
    tissue[ellipsoid(points, center=(-32, -4, -62), radii=(44, 42, 30)) < 0] = LIVER
    tissue[ellipsoid(points, center=(3, -12, -2), radii=(50, 38, 75)) < 0] = FAT * 0.75  # mediastinum
    tissue[ellipse(x, y - 43, half=(19, 15)) < 0] = MUSCLE
    vertebra = ellipse(x, y - 36, half=(15, 12))
    tissue[vertebra < 0] = 0.12
    disc = np.cos(2 * np.pi * z / 28 + rng.uniform(0, 6)) > 0.85
    tissue[vertebra < -1.5] = np.where(disc, 0.22, MARROW)[vertebra < -1.5]
    tissue[np.hypot(x, y - 50) < 6] = 0.15  # spinal canal
    tissue[np.hypot(x - 4, y - 20) < 5] = MUSCLE  # oesophagus
    tissue[np.hypot(x - 4, y - 20) < 2] = 0.1
    sternum = ellipse(x, y + 48, half=(14, 5))
    tissue[sternum < 0] = 0.12
    tissue[sternum < -1.5] = MARROW
    return tissue


def _heart(rng: np.random.Generator, points: np.ndarray, tissue: np.ndarray) -> None:
    """Paint the great vessels, the right heart and the left ventricle into ``tissue``."""

    def place(*mm: float) -> np.ndarray:
        return np.asarray(mm) + rng.uniform(-2, 2, 3)

    def size(*mm: float) -> np.ndarray:
        return np.asarray(mm) * rng.uniform(0.9, 1.1, 3)

    ventricle = ellipsoid(points, center=place(-1, -27, -18), radii=size(25, 13, 23), degrees=(0, 0, 18))
    tissue[ventricle < 3] = MYOCARDIUM
    tissue[ventricle < 0] = _blood(rng)
    atrium = ellipsoid(points, center=place(-29, -9, -4), radii=size(15, 17, 22))
    tissue[atrium < 1.5] = MYOCARDIUM
    tissue[atrium < 0] = _blood(rng)
    left = ellipsoid(points, center=place(27, -13, -20), radii=size(12, 23, 15), degrees=(-20, 0, -50))
    tissue[left < rng.uniform(7, 9)] = MYOCARDIUM
    infarct = (left > 0) & (left < 4) & (smooth_field(rng, left.shape, waves=7) > 1.6)
    tissue[left < 0] = _blood(rng)
    tissue[infarct] = SCAR * 0.9
    for start, control, end, *radii in VESSELS:
        vessel = tube(points, (place(*start), place(*control), place(*end)), radii=size(*radii, 1)[:2])
        tissue[(vessel < 1.8) & (atrium >= 0)] = MYOCARDIUM
        tissue[vessel < 0] = _blood(rng)


def _left_atrium(rng: np.random.Generator, points: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Paint the left atrium, its veins, appendage and scarred wall; return its label (X, Y, Z) bool."""
    center = np.asarray((0.0, 0.0, 4.0)) + rng.uniform(-2, 2, 3)
    radii = np.asarray((24.0, 14.5, 18.0)) * rng.uniform(0.86, 1.14, 3)
    body = ellipsoid(points, center=center, radii=radii, degrees=rng.uniform(-12, 12, 3))
    body += 1.1 * smooth_field(rng, body.shape, waves=8)  # an uneven surface, about 1 mm
    grown = radii / (24.0, 14.5, 18.0)

    def curve(branch: tuple, wobble: float) -> tuple:
        bends = (0.5, 1.0, 1.0)  # the root stays in the body, the rest goes where this patient's goes
        shifts = [rng.uniform(-wobble, wobble, 3) * bend for bend in bends]
        return tuple(center + np.asarray(p) * grown + s for p, s in zip(branch[:3], shifts, strict=True))

    veins = np.full_like(body, np.inf)
    for vein in VEINS:
        np.minimum(veins, tube(points, curve(vein, 4), radii=np.asarray(vein[3:]) * rng.uniform(0.8, 1.15)), out=veins)
    appendage = tube(points, curve(APPENDAGE, 4), radii=np.asarray(APPENDAGE[3:]) * rng.uniform(0.8, 1.2))
    cavity = np.minimum(body, appendage)

    lumen = np.minimum(cavity, veins)
    wall = (lumen >= 0) & (lumen < WALL_MM)
    tissue[wall] = 0.3
    scar = wall & (cavity < 5) & (smooth_field(rng, body.shape, waves=9) > rng.uniform(0.8, 1.6))
    tissue[scar] = SCAR
    tissue[lumen < 0] = _blood(rng)
    return (cavity < 0) | ((veins < 0) & (body < VEIN_LABEL_MM))


def _blood(rng: np.random.Generator) -> float:
    return BLOOD * rng.uniform(0.94, 1.06)
