"""Anatomy of the left-atrium phantom: a heart in a chest, as tissue brightness and label, without imaging effects.

Coordinates are millimetres from the middle of the chest: x to the patient's left, y to the back, z to the head (LPS).
Sizes and places are those of a small chest as seen on axial images; each case draws them anew, within limits.
"""

from __future__ import annotations

import numpy as np

__all__ = ["BLOOD", "paint_chest", "smooth_field"]

# Brightness in late enhancement, relative: blood and scar bright, nulled myocardium and lung dark.
AIR, LUNG, MYOCARDIUM, MUSCLE, LIVER, FAT, MARROW, BLOOD, SCAR = 0.0, 0.07, 0.2, 0.3, 0.42, 0.5, 0.4, 0.68, 1.15
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


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], *, waves: int) -> np.ndarray:
    """A smooth random field (X, Y, Z), mean 0, standard deviation 1, of fewer than ``waves`` half waves an axis."""
    from scipy.fft import idctn

    coefficients = np.zeros(shape, np.float32)
    coefficients[:waves, :waves, :waves] = rng.standard_normal((waves, waves, waves))
    coefficients[0, 0, 0] = 0
    field = idctn(coefficients, norm="ortho")
    return field / field.std()


def paint_chest(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple:
    """Draw one chest.

    Args:
        rng: source of pose, sizes and shapes.
        shape: voxels (X, Y, Z), axes to the left, the back and the head.
        spacing: voxel size in mm.

    Returns:
        tissue (X, Y, Z) float32, relative brightness 0 (air) to 1.15 (scar); atrium (X, Y, Z) bool.
    """
    points = _posed_points(rng, shape, spacing)  # (3, X, Y, Z) mm
    tissue = _trunk(rng, points)
    _heart(rng, points, tissue)
    atrium = _left_atrium(rng, points, tissue)
    return tissue, atrium


def _posed_points(rng: np.random.Generator, shape: tuple, spacing: tuple) -> np.ndarray:
    """Anatomical coordinates (3, X, Y, Z) in mm of each voxel, under a random pose, size and smooth deformation."""
    from scipy.spatial.transform import Rotation

    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    world = np.stack(np.meshgrid(*axes, indexing="ij"))
    world -= rng.uniform(-6, 6, 3).astype(np.float32)[:, None, None, None]
    turn = Rotation.from_euler("xyz", rng.uniform(-6, 6, 3), degrees=True).as_matrix() / rng.uniform(0.92, 1.06)
    points = np.tensordot(turn.astype(np.float32), world, 1)  # (3, X, Y, Z)
    for axis in range(3):
        points[axis] += 1.2 * smooth_field(rng, shape, waves=5)
    return points


def _trunk(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Skin, fat, muscle, ribs, lungs with vessels, mediastinal fat, liver dome and spine; (X, Y, Z) brightness."""
    x, y, z = points
    tissue = np.full(x.shape, AIR, np.float32)
    outside = _ellipse(x, y, half=(75, 57))  # mm to the skin, negative inside
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
    tissue[_ellipsoid(points, centre=(-32, -4, -62), radii=(44, 42, 30)) < 0] = LIVER
    tissue[_ellipsoid(points, centre=(3, -12, -2), radii=(50, 38, 75)) < 0] = FAT * 0.75  # mediastinum
    tissue[_ellipse(x, y - 43, half=(19, 15)) < 0] = MUSCLE
    vertebra = _ellipse(x, y - 36, half=(15, 12))
    tissue[vertebra < 0] = 0.12
    disc = np.cos(2 * np.pi * z / 28 + rng.uniform(0, 6)) > 0.85
    tissue[vertebra < -1.5] = np.where(disc, 0.22, MARROW)[vertebra < -1.5]
    tissue[np.hypot(x, y - 50) < 6] = 0.15  # spinal canal
    tissue[np.hypot(x - 4, y - 20) < 5] = MUSCLE  # oesophagus
    tissue[np.hypot(x - 4, y - 20) < 2] = 0.1
    sternum = _ellipse(x, y + 48, half=(14, 5))
    tissue[sternum < 0] = 0.12
    tissue[sternum < -1.5] = MARROW
    return tissue


def _heart(rng: np.random.Generator, points: np.ndarray, tissue: np.ndarray) -> None:
    """Paint the great vessels, the right heart and the left ventricle into ``tissue``."""

    def place(*mm: float) -> np.ndarray:
        return np.asarray(mm) + rng.uniform(-2, 2, 3)

    def size(*mm: float) -> np.ndarray:
        return np.asarray(mm) * rng.uniform(0.9, 1.1, 3)

    ventricle = _ellipsoid(points, centre=place(-1, -27, -18), radii=size(25, 13, 23), degrees=(0, 0, 18))
    tissue[ventricle < 3] = MYOCARDIUM
    tissue[ventricle < 0] = _blood(rng)
    atrium = _ellipsoid(points, centre=place(-29, -9, -4), radii=size(15, 17, 22))
    tissue[atrium < 1.5] = MYOCARDIUM
    tissue[atrium < 0] = _blood(rng)
    left = _ellipsoid(points, centre=place(27, -13, -20), radii=size(12, 23, 15), degrees=(-20, 0, -50))
    tissue[left < rng.uniform(7, 9)] = MYOCARDIUM
    infarct = (left > 0) & (left < 4) & (smooth_field(rng, left.shape, waves=7) > 1.6)
    tissue[left < 0] = _blood(rng)
    tissue[infarct] = SCAR * 0.9
    for start, control, end, *radii in VESSELS:
        vessel = _tube(points, (place(*start), place(*control), place(*end)), radii=size(*radii, 1)[:2])
        tissue[(vessel < 1.8) & (atrium >= 0)] = MYOCARDIUM
        tissue[vessel < 0] = _blood(rng)


def _left_atrium(rng: np.random.Generator, points: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Paint the left atrium, its veins, appendage and scarred wall; return its label (X, Y, Z) bool."""
    centre = np.asarray((0.0, 0.0, 4.0)) + rng.uniform(-2, 2, 3)
    radii = np.asarray((24.0, 14.5, 18.0)) * rng.uniform(0.86, 1.14, 3)
    body = _ellipsoid(points, centre=centre, radii=radii, degrees=rng.uniform(-12, 12, 3))
    body += 1.1 * smooth_field(rng, body.shape, waves=8)  # an uneven surface, about 1 mm
    grown = radii / (24.0, 14.5, 18.0)

    def curve(branch: tuple, wobble: float) -> tuple:
        bends = (0.5, 1.0, 1.0)  # the root stays in the body, the rest goes where this patient's goes
        shifts = [rng.uniform(-wobble, wobble, 3) * bend for bend in bends]
        return tuple(centre + np.asarray(p) * grown + s for p, s in zip(branch[:3], shifts, strict=True))

    veins = np.full_like(body, np.inf)
    for vein in VEINS:
        np.minimum(veins, _tube(points, curve(vein, 4), radii=np.asarray(vein[3:]) * rng.uniform(0.8, 1.15)), out=veins)
    appendage = _tube(points, curve(APPENDAGE, 4), radii=np.asarray(APPENDAGE[3:]) * rng.uniform(0.8, 1.2))
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


def _ellipse(x: np.ndarray, y: np.ndarray, *, half: tuple[float, float]) -> np.ndarray:
    """Radial distance in mm to an upright, slightly squared ellipse cylinder; negative inside."""
    norm = (np.abs(x / half[0]) ** 2.4 + np.abs(y / half[1]) ** 2.4) ** (1 / 2.4) + 1e-6
    return np.hypot(x, y) * (1 - 1 / norm)


def _ellipsoid(points: np.ndarray, *, centre: tuple, radii: tuple, degrees: tuple = (0, 0, 0)) -> np.ndarray:
    """Radial distance in mm of ``points`` (3, X, Y, Z) to an ellipsoid turned about x, y, z; negative inside."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix().T
    offset = np.tensordot(turn.astype(np.float32), points - np.float32(centre)[:, None, None, None], 1)
    norm = np.sqrt(((offset / np.float32(radii)[:, None, None, None]) ** 2).sum(0)) + 1e-6
    return np.sqrt((offset**2).sum(0)) * (1 - 1 / norm)


def _tube(points: np.ndarray, curve: tuple, *, radii: tuple[float, float], reach: float = 6.0) -> np.ndarray:
    """Distance in mm to a tube around a quadratic Bezier curve; negative inside, infinite farther than ``reach``.

    ``curve`` is start, control point, end; the radius goes linearly from ``radii[0]`` to ``radii[1]``.
    """
    t = np.linspace(0, 1, 24)[:, None]
    line = ((1 - t) ** 2 * curve[0] + 2 * t * (1 - t) * curve[1] + t**2 * curve[2]).astype(np.float32)  # (24, 3)
    thick = np.linspace(*radii, 24, dtype=np.float32)
    low, high = line.min(0) - max(radii) - reach, line.max(0) + max(radii) + reach
    near = np.ones(points.shape[1:], bool)
    for axis in range(3):
        near &= (points[axis] > low[axis]) & (points[axis] < high[axis])
    close = points[:, near]  # (3, N)
    nearest = np.full(close.shape[1], np.inf, np.float32)
    for joint, radius in zip(line, thick, strict=True):
        np.minimum(nearest, np.sqrt(((close - joint[:, None]) ** 2).sum(0)) - radius, out=nearest)
    distance = np.full(points.shape[1:], np.inf, np.float32)
    distance[near] = nearest
    return distance
