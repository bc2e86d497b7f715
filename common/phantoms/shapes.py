"""Shapes that phantoms are drawn with: posed coordinates, smooth random fields, ellipses, ellipsoids and tubes.

Coordinates are millimeters: x to the patient's left, y to the back, z to the head (LPS).
"""

from __future__ import annotations

import numpy as np

__all__ = ["ellipse", "ellipsoid", "posed_points", "smooth_field", "tube"]


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], *, waves: int) -> np.ndarray:
    """A smooth random field (X, Y, Z), mean 0, standard deviation 1, of fewer than ``waves`` half waves an axis."""
    from scipy.fft import idctn

    coefficients = np.zeros(shape, np.float32)
    coefficients[:waves, :waves, :waves] = rng.standard_normal((waves, waves, waves))
    coefficients[0, 0, 0] = 0
    field = idctn(coefficients, norm="ortho")
    return field / field.std()


def posed_points(rng: np.random.Generator, shape: tuple, spacing: tuple) -> np.ndarray:
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


def ellipse(x: np.ndarray, y: np.ndarray, *, half: tuple[float, float]) -> np.ndarray:
    """Radial distance in mm to an upright, slightly squared ellipse cylinder; negative inside."""
    norm = (np.abs(x / half[0]) ** 2.4 + np.abs(y / half[1]) ** 2.4) ** (1 / 2.4) + 1e-6
    return np.hypot(x, y) * (1 - 1 / norm)


def ellipsoid(
    points: np.ndarray, *, center: tuple, radii: tuple, degrees: tuple = (0, 0, 0), reach: float | None = None
) -> np.ndarray:
    """Radial distance in mm of ``points`` (3, X, Y, Z) to an ellipsoid turned about x, y, z; negative inside.

    With ``reach``, distances farther than that many mm are left at infinity, which is quicker.
    """
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    if reach is not None:
        half = np.sqrt((turn * np.asarray(radii)) ** 2 @ np.ones(3)) + reach  # of the box around it
        near = _between(points, np.asarray(center) - half, np.asarray(center) + half)
        distance = np.full(points.shape[1:], np.inf, np.float32)
        distance[near] = ellipsoid(points[:, near][..., None, None], center=center, radii=radii, degrees=degrees)[
            :, 0, 0
        ]
        return distance
    offset = np.tensordot(turn.T.astype(np.float32), points - np.float32(center)[:, None, None, None], 1)
    norm = np.sqrt(((offset / np.float32(radii)[:, None, None, None]) ** 2).sum(0)) + 1e-6
    return np.sqrt((offset**2).sum(0)) * (1 - 1 / norm)


def tube(points: np.ndarray, curve: tuple, *, radii: tuple[float, float], reach: float = 6.0) -> np.ndarray:
    """Distance in mm to a tube around a quadratic Bezier curve; negative inside, infinite farther than ``reach``.

    ``curve`` is start, control point, end; the radius goes linearly from ``radii[0]`` to ``radii[1]``.
    """
    t = np.linspace(0, 1, 24)[:, None]
    line = ((1 - t) ** 2 * curve[0] + 2 * t * (1 - t) * curve[1] + t**2 * curve[2]).astype(np.float32)  # (24, 3)
    thick = np.linspace(*radii, 24, dtype=np.float32)
    near = _between(points, line.min(0) - max(radii) - reach, line.max(0) + max(radii) + reach)
    close = points[:, near]  # (3, N)
    nearest = np.full(close.shape[1], np.inf, np.float32)
    for joint, radius in zip(line, thick, strict=True):
        np.minimum(nearest, np.sqrt(((close - joint[:, None]) ** 2).sum(0)) - radius, out=nearest)
    distance = np.full(points.shape[1:], np.inf, np.float32)
    distance[near] = nearest
    return distance


def _between(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which of ``points`` (3, X, Y, Z) lie in a box, bool (X, Y, Z)."""
    near = np.ones(points.shape[1:], bool)
    for axis in range(3):
        near &= (points[axis] > np.float32(low[axis])) & (points[axis] < np.float32(high[axis]))
    return near
