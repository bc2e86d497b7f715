"""The organs of the abdomen phantom: liver with vessels and tumors, and what lies around it.

Coordinates as in :mod:`common.phantoms.abdomen`; brightness is in HU and rises with the contrast medium.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.phantoms.shapes import ellipsoid, smooth_field, tube

__all__ = ["Canvas", "paint_organs"]

LIVER, KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4  # as in FLARE 2021
FAT, GAS, WATER, WALL = -105, -960, 12, 48
TUMOR_MM = (8.0, 42.0)  # diameters; the first of a case at least 24 mm

# lobes: center and radii (mm): right lobe, left lobe, its tip, lower end of the right lobe, caudate lobe
LOBES = (
    ((-60, 2, 24), (62, 66, 64)),
    ((-4, -42, 42), (54, 34, 38)),
    ((42, -48, 50), (38, 20, 22)),
    ((-84, -4, -34), (30, 42, 46)),
    ((-22, 2, 38), (24, 20, 24)),
)
# start, control point and end of a curve (mm), radius at start and end (mm)
HEPATIC_VEINS = (
    ((-20, 14, 66), (-60, 6, 58), (-104, 14, 22), 6.0, 2.2),
    ((-20, 10, 66), (-36, -14, 50), (-58, -46, 14), 6.0, 2.2),
    ((-18, 8, 66), (-4, -20, 62), (34, -48, 50), 5.5, 2.0),
)
PORTAL_VEINS = (
    ((-14, -8, -12), (-24, -10, 6), (-42, -6, 20), 7.0, 6.5),
    ((-42, -6, 20), (-74, -2, 22), (-100, 22, 2), 6.0, 2.4),
    ((-42, -6, 20), (-72, -24, 20), (-96, -36, 34), 5.5, 2.2),
    ((-42, -6, 20), (-22, -30, 32), (24, -46, 42), 5.5, 2.0),
)
COLON = (
    ((-94, 18, -150), (-98, 26, -100), (-92, 0, -66), 21, 18),  # ascending
    ((-86, -12, -66), (-40, -84, -84), (0, -62, -62), 16, 15),  # transverse
    ((0, -62, -62), (40, -50, -52), (90, 6, 2), 15, 14),
    ((94, 10, 4), (104, 34, -50), (96, 22, -150), 14, 13),  # descending
)


@dataclass(frozen=True)
class Canvas:
    """What a phantom is painted on: coordinates (3, X, Y, Z) in mm, tissue (X, Y, Z) in HU, organ labels (X, Y, Z)."""

    points: np.ndarray
    tissue: np.ndarray
    organs: np.ndarray

    def paint(self, where: np.ndarray, brightness: float, organ: int = 0) -> None:
        """Fill ``where`` (X, Y, Z) bool with one brightness and one organ; what was there is gone."""
        self.tissue[where] = brightness
        self.organs[where] = organ


def paint_organs(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray) -> np.ndarray:
    """Paint the organs into a trunk.

    Args:
        rng: source of sizes, places, contrast and tumors.
        canvas: with the trunk painted; changed in place.
        wall: (X, Y, Z) mm to the wall of the peritoneal space, negative inside.

    Returns:
        The liver's tumors, (X, Y, Z) bool.
    """
    contrast = rng.uniform(0.35, 1.0)  # 1 is a strong portal venous phase
    _bowel(rng, canvas, wall, contrast)
    _stomach(rng, canvas, wall)
    _great_vessels(rng, canvas, wall, contrast)
    _pancreas(rng, canvas, contrast)
    _spleen(rng, canvas, wall, contrast)
    depth, brightness = _liver(rng, canvas, wall, contrast)
    for side in (-1, 1):
        _kidney(rng, canvas, wall, side, contrast)
    return _tumors(rng, canvas, depth, brightness)


def _near(rng: np.random.Generator, mm: tuple, by: float = 3.0) -> np.ndarray:
    """A place near ``mm``."""
    return np.asarray(mm, float) + rng.uniform(-by, by, 3)


def _curve(
    rng: np.random.Generator, canvas: Canvas, vessel: tuple, *, by: float = 2.5, reach: float = 1.0
) -> np.ndarray:
    """Distance to a tube of the tables above, bent a little differently in each patient."""
    start, control, end, *radii = vessel
    bends = (np.asarray(start, float), _near(rng, control, by), _near(rng, end, by))
    return tube(canvas.points, bends, radii=np.asarray(radii) * rng.uniform(0.88, 1.12), reach=reach)


def _bowel(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray, contrast: float) -> None:
    """Small bowel as coiled loops, the colon with stool and gas; gas rises to the front of a patient on the back."""
    x, y, z = canvas.points
    room = (wall < -5) & (z < -28) & (y < 22 - 0.1 * np.abs(x)) & (np.abs(x) < 85)
    coil = smooth_field(rng, x.shape, waves=17)
    loop = room & (np.abs(coil) > 0.3)
    canvas.paint(loop, WALL + 40 * contrast)
    canvas.paint(loop & (np.abs(coil) > 0.75), WATER + 15)
    canvas.paint(loop & (coil > 1.7) & (y < -10), GAS)
    texture = smooth_field(rng, x.shape, waves=48)
    for part in COLON:
        gut = _curve(rng, canvas, part, by=6, reach=4) + 2.2 * np.sin(z / 5 + x / 6)  # haustra
        inside = (gut < 0) & (wall < -1)
        canvas.paint(inside, WALL + 20 * contrast)
        lumen = inside & (gut < -3) & (wall < -4)
        canvas.tissue[lumen] = -40 + 90 * texture[lumen]
        front = np.asarray(part[:3])[:, 1].min() + 10
        canvas.paint(lumen & (y < front), GAS)


def _stomach(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray) -> None:
    """A bag under the left diaphragm that narrows to the right, half filled; gas lies in front."""
    fundus = ellipsoid(
        canvas.points, center=_near(rng, (50, -14, 36)), radii=rng.uniform(0.85, 1.1, 3) * (33, 40, 36), reach=4
    )
    antrum = _curve(rng, canvas, ((58, -34, 14), (44, -62, -24), (-16, -40, -26), 25, 12), by=5, reach=4)
    bag = np.minimum(fundus, antrum)
    inside = (bag < 0) & (wall < -3)
    canvas.paint(inside, WALL + 25)
    lumen = inside & (bag < -4) & (wall < -7)
    texture = smooth_field(rng, bag.shape, waves=36)
    canvas.tissue[lumen] = WATER + 12 * texture[lumen]
    canvas.paint(lumen & (canvas.points[1] < rng.uniform(-44, -28)), GAS)


def _great_vessels(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray, contrast: float) -> None:
    """Aorta, vena cava below the liver, superior mesenteric vessels, splenic vein and crura of the diaphragm."""
    blood = 45 + 115 * contrast
    for side in (-1, 1):
        crus = _curve(rng, canvas, ((side * 13, 22, -40), (side * 15, 14, 0), (side * 16, 8, 44), 5, 5), by=1)
        canvas.paint((crus < 0) & (wall < 0), 60)
    aorta = _curve(rng, canvas, ((8, 9, -170), (12, 8, 0), (10, 14, 170), 9, 12), by=2, reach=2)
    canvas.paint(aorta < 1, 60)
    canvas.paint(aorta < 0, blood + 10)
    for vessel in (
        ((-22, 10, -170), (-22, 10, -60), (-22, 10, 20), 11, 11),
        ((4, -20, -24), (6, -26, -60), (2, -34, -110), 4, 3),
        ((-10, -22, -24), (-10, -28, -60), (-8, -34, -110), 5.5, 3.5),
        ((-12, -10, -14), (14, -18, 2), (80, 24, 24), 5, 3.5),
    ):
        canvas.paint((_curve(rng, canvas, vessel) < 0) & (wall < -1), blood)


def _pancreas(rng: np.random.Generator, canvas: Canvas, contrast: float) -> None:
    """Head in the bend of the duodenum, body in front of the aorta, tail at the spleen; lobulated."""
    grain = smooth_field(rng, canvas.tissue.shape, waves=30)
    duodenum = _curve(rng, canvas, ((-22, -34, -16), (-64, -16, -30), (-30, 0, -64), 11, 10), by=4, reach=2)
    canvas.paint(duodenum < 0, WALL + 20 * contrast)
    canvas.paint(duodenum < -3.5, WATER + 10)
    gland = np.minimum(
        _curve(rng, canvas, ((-26, -16, -36), (8, -44, -12), (76, 16, 20), 14, 9.5), by=5, reach=6),
        _curve(rng, canvas, ((-32, -12, -52), (-36, -12, -40), (-26, -16, -24), 11, 14), by=3, reach=6),
    )
    gland += 1.8 * grain
    canvas.paint(gland < 0, 42 + 58 * contrast, PANCREAS)
    canvas.paint((gland < 0) & (grain > 1.9), FAT + 90, PANCREAS)


def _spleen(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray, contrast: float) -> None:
    """A bean under the left ribs, hollowed towards the stomach; arteries and veins at its hilum."""
    center = _near(rng, (84, 34, 22), 4)
    size = rng.uniform(0.85, 1.15, 3)
    bean = ellipsoid(canvas.points, center=center, radii=size * (32, 46, 50), degrees=(15, 10, -35), reach=4)
    hollow = ellipsoid(canvas.points, center=center - (40, 20, 4), radii=(26, 30, 42), degrees=(0, 0, -35), reach=4)
    bean = np.maximum(bean, -hollow) + 0.8 * smooth_field(rng, wall.shape, waves=16)
    canvas.paint((bean < 0) & (wall < -3.5), 48 + 72 * contrast, SPLEEN)


def _liver(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray, contrast: float) -> tuple[np.ndarray, float]:
    """Paint liver, gallbladder, vena cava; returns mm to the liver's surface, negative inside, and its brightness."""
    points = canvas.points
    size = rng.uniform(0.9, 1.1, 3)
    depth = np.full(wall.shape, 100.0, np.float32)
    for center, radii in LOBES:
        grown = np.asarray(radii) * size * rng.uniform(0.92, 1.08, 3)
        lobe = ellipsoid(points, center=_near(rng, center), radii=grown, degrees=rng.uniform(-8, 8, 3), reach=12)
        # a smooth union: lobes melt into each other over 10 mm
        h = np.clip(0.5 + (depth - np.minimum(lobe, 100)) / 20, 0, 1)
        depth = np.minimum(depth, lobe) - 10 * h * (1 - h)
    fissure = ellipsoid(points, center=_near(rng, (-14, -52, 14)), radii=(4, 34, 30), degrees=(0, 0, 25), reach=8)
    hilum = ellipsoid(points, center=_near(rng, (-26, -12, -2), 2), radii=(22, 13, 14), reach=8)
    depth = np.maximum(np.maximum(depth, -np.minimum(fissure, hilum)), wall + 4)
    depth += 0.9 * smooth_field(rng, wall.shape, waves=14)
    fatty = rng.uniform(0, 22) if rng.random() < 0.4 else 0.0
    brightness = 56 + 52 * contrast - fatty
    inside = depth < 0
    canvas.paint(inside, brightness, LIVER)
    canvas.tissue[inside] += 3.5 * smooth_field(rng, wall.shape, waves=24)[inside]
    blood = max(brightness + 14, 48 + 120 * contrast)
    for k, vein in enumerate((*HEPATIC_VEINS, *PORTAL_VEINS)):
        vessel = _curve(rng, canvas, vein, by=5)
        canvas.tissue[inside & (vessel < 0)] = blood
        if k == len(HEPATIC_VEINS):
            canvas.paint(~inside & (vessel < 0) & (wall < -1), blood)  # the portal vein before it enters
    for _ in range(14):  # branches
        root = np.asarray((-45, 0, 25)) + rng.uniform(-1, 1, 3) * (35, 25, 25)
        tip = root + rng.uniform(-1, 1, 3) * (40, 45, 35)
        branch = tube(points, (root, (root + tip) / 2 + rng.uniform(-8, 8, 3), tip), radii=(2.6, 1.3), reach=1)
        canvas.tissue[inside & (branch < 0)] = 0.35 * brightness + 0.65 * blood
    cava = _curve(rng, canvas, ((-22, 10, 10), (-22, 12, 44), (-16, 4, 96), 11, 11), by=1)
    canvas.paint((cava < 0) & (wall < 8), blood)
    bladder = ellipsoid(
        points, center=_near(rng, (-50, -46, -22)), radii=rng.uniform(0.75, 1.15) * np.asarray((13, 17, 24)), reach=3
    )
    canvas.paint((bladder < 2) & (wall < -3), WALL + 15)
    canvas.paint((bladder < 0) & (wall < -5), WATER)
    return depth, brightness


def _kidney(rng: np.random.Generator, canvas: Canvas, wall: np.ndarray, side: int, contrast: float) -> None:
    """Cortex, pyramids and a sinus of fat, in perirenal fat that presses the liver away."""
    center = _near(rng, (side * 60, 36, -48 if side < 0 else -34), 4)
    radii = rng.uniform(0.95, 1.12, 3) * (27, 24, 53)
    turn = (4, -side * 8, side * 25)
    bean = ellipsoid(canvas.points, center=center, radii=radii, degrees=turn, reach=9)
    sinus = ellipsoid(canvas.points, center=center - (side * 17, 4, 0), radii=(14, 9, 22), degrees=turn, reach=5)
    bean = np.maximum(bean, -sinus) + 0.6 * smooth_field(rng, wall.shape, waves=18)
    free = (wall < 0) & (canvas.tissue < 250)
    canvas.paint((bean < 5) & free, FAT)
    kidney = (bean < 0) & free
    canvas.paint(kidney, 35 + 150 * contrast, KIDNEY)
    pyramids = kidney & (bean < -7) & (smooth_field(rng, wall.shape, waves=32) > -0.2)
    canvas.paint(pyramids, 32 + 105 * contrast, KIDNEY)
    canvas.paint((ellipsoid(canvas.points, center=center - (side * 12, 3, 0), radii=(7, 5, 13), reach=1) < 0), WATER)
    vein = ((side * 48, 30, center[2] + 4), (side * 36, 18, center[2] + 8), (-12, 4, center[2] + 12), 4, 4)
    canvas.paint((_curve(rng, canvas, vein, by=1) < 0) & free & (canvas.organs != KIDNEY), 45 + 110 * contrast)


def _tumors(rng: np.random.Generator, canvas: Canvas, depth: np.ndarray, brightness: float) -> np.ndarray:
    """Paint 0 to 5 tumors into the liver, a third of them at its rim, without touching each other."""
    x, y, z = canvas.points
    liver = canvas.organs == LIVER
    tumor = np.zeros(liver.shape, bool)
    placed: list[tuple[np.ndarray, float]] = []
    rough = smooth_field(rng, liver.shape, waves=28)
    for number in range(int(rng.integers(0, 6))):
        least, most = np.log(TUMOR_MM) if number else np.log((24.0, TUMOR_MM[1]))
        radius = float(np.exp(rng.uniform(least, most))) / 2
        at_rim = rng.random() < 1 / 3
        allowed = liver & ((np.abs(depth + 0.5 * radius) < 2) if at_rim else (depth < -1.1 * radius - 2))
        for middle, other in placed:
            allowed &= (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2 > (radius + other + 6) ** 2
        places = np.flatnonzero(allowed)
        if not places.size:
            continue
        center = np.unravel_index(rng.choice(places), liver.shape)
        middle = canvas.points[(slice(None), *center)]
        placed.append((middle, radius))
        radii = radius * rng.uniform(0.85, 1.15, 3)
        lesion = ellipsoid(canvas.points, center=middle, radii=radii, degrees=rng.uniform(0, 90, 3), reach=4)
        lesion = (lesion + min(1.2, 0.12 * radius) * rough) * (1 if radius > 4 else 0.9)
        inside = liver & (lesion < 0)
        inside[center] = True
        bright = rng.random() < 0.15
        contrast = rng.uniform(60, 90) if bright else -rng.uniform(55, 85)
        canvas.tissue[inside] = brightness + contrast
        if not bright and radius > 9 and rng.random() < 0.5:  # a thin bright rim around a dead core
            canvas.tissue[inside & (lesion > -0.15 * radius)] = brightness + 18
            canvas.tissue[inside & (lesion < -0.55 * radius)] = max(brightness - 75, 15)
        tumor |= inside
    return tumor
