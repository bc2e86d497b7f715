"""What one labeled case measures: its grid, its intensities, and size, place and shape of every label.

Triples are in the order z, y, x of the patient; millimeters grow to the head, the front and the right (S, A, R).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from common.datasets.errors import DataError
from common.files import files_of
from common.transforms.grid import load_on_grid
from common.transforms.volumes import grid_faults

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = ["measure_case", "measure_labels"]

PERCENTILES = (0.5, 5, 25, 50, 75, 95, 99.5)
LARGEST = 10  # components whose sizes are noted
TOWARDS_LPS = {"S": 1, "P": 1, "L": 1, "I": -1, "A": -1, "R": -1}

Measures = dict[str, Any]


def measure_case(item: dict[str, Any], *, channels: int = 1) -> Measures:
    """Measure an image and its label in the patient, whatever the order and direction of the stored axes.

    Args:
        item: ``case``, ``image`` (a file, or a list of files, one for each channel) and ``label``.
        channels: of the image.

    Returns:
        - ``case``; ``voxels``, ``spacing_mm`` and ``extent_mm`` (voxels times spacing) along the array's axes that are
          nearest to z, y, x;
        - ``stored_axes``: where the file's axes point, such as ``"LPS"``; ``signs``: +1 where the index grows to the
          head, the back or the left (the direction matrix of ITK), else -1; ``oblique_degrees``: the largest angle
          between an axis and the patient's nearest;
        - ``intensity``: of each channel, ``mean``, ``sd`` and percentiles ``p0.5`` to ``p99.5``;
        - ``labels``: value (as text) -> what :func:`measure_labels` returns, and ``intensity`` within the label.

    Raises:
        DataError: for a file that cannot be read, that :class:`~common.transforms.LoadImageAsVolumed` refuses, or an
            image and a label on different grids; the file is named.
    """
    import nibabel as nib

    image, label = (_loaded(item, key, channels) for key in ("image", "label"))  # (C, D, H, W), (1, D, H, W)
    faults = grid_faults(
        (label.shape[1:], label.affine.numpy()), (image.shape[1:], image.affine.numpy()), like="the image"
    )
    if faults:
        raise DataError(f"{item['label']}: {faults[0]}")
    stored, affine = np.asarray(image.meta["original_affine"], float), image.affine.numpy()
    volume, labels = image.numpy(), label.numpy()[0]  # (C, D, H, W), (D, H, W)
    codes = "".join(nib.aff2axcodes(stored))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    measured = measure_labels(labels, affine)
    for value, measures in measured.items():
        measures["intensity"] = [_intensity(channel[labels == int(value)]) for channel in volume]
    return {
        "case": item["case"],
        "voxels": list(labels.shape),
        "spacing_mm": _rounded(spacing),
        "extent_mm": _rounded(spacing * labels.shape),
        "stored_axes": codes,
        "signs": [TOWARDS_LPS[next(code for code in codes if code in axis)] for axis in ("SI", "AP", "RL")],
        "oblique_degrees": round(float(np.degrees(nib.affines.obliquity(stored)).max()), 3),
        "intensity": [_intensity(channel) for channel in volume],
        "labels": measured,
    }


def measure_labels(labels: np.ndarray, affine: np.ndarray) -> dict[str, Measures]:
    """Size, place and shape of every label but 0, in true millimeters on any grid.

    Args:
        labels: label map (D, H, W), uint8.
        affine: voxel to mm (4, 4), to the right, the front and the head (RAS).

    Returns:
        label value, as text -> its measures:

        - ``volume_ml``;
        - ``shift_mm``: its centroid from the middle of the volume; ``shift_from_all_mm``: from that of all labels;
        - ``axes_mm``: full lengths, the longest first, of the ellipsoid with the same second moments; ``axis_ratios``:
          the middle's and the shortest's fraction of the longest;
        - ``components``: number of parts, joined across faces, edges and corners (26 neighbors); ``component_mm3``:
          sizes of the ten largest, descending.
    """
    from scipy.ndimage import find_objects, label

    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    middle = (np.asarray(labels.shape) - 1) / 2
    found = [(value, box) for value, box in enumerate(find_objects(labels), start=1) if box]
    parts = []
    for value, box in found:
        mask = labels[box] == value
        count, centroid, covariance = _moments(mask)
        parts.append((value, mask, count, centroid + [side.start for side in box], covariance))
    total = sum(count for _, _, count, _, _ in parts)
    of_all = sum((count * centroid for _, _, count, centroid, _ in parts), np.zeros(3)) / max(total, 1)
    measured = {}
    for value, mask, count, centroid, covariance in parts:
        in_mm = affine[:3, :3] @ covariance @ affine[:3, :3].T
        axes = 2 * np.sqrt(
            5 * np.linalg.eigvalsh(in_mm)[::-1]
        )  # a solid ellipsoid's variance along a half axis a: a²/5
        components, number = label(mask, structure=np.ones((3, 3, 3)))
        sizes = np.sort(np.bincount(components.ravel())[1:])[::-1] * voxel_mm3
        measured[str(value)] = {
            "volume_ml": _rounded(count * voxel_mm3 / 1000),
            "shift_mm": _rounded((affine[:3, :3] @ (centroid - middle))[::-1]),
            "shift_from_all_mm": _rounded((affine[:3, :3] @ (centroid - of_all))[::-1]),
            "axes_mm": _rounded(axes),
            "axis_ratios": _rounded(axes[1:] / axes[0]),
            "components": int(number),
            "component_mm3": _rounded(sizes[:LARGEST]),
        }
    return measured


def _loaded(item: dict[str, Any], key: str, channels: int) -> MetaTensor:
    try:
        return load_on_grid((key,), classes=True, channel_order=range(channels))({key: item[key]})[key]
    except Exception as error:  # the formats' libraries raise errors of all kinds
        while error.__cause__ is not None:  # MONAI wraps what a transform raised
            error = error.__cause__
        path = files_of(item[key])[0]
        named = str(error) if path in str(error) else f"{path}: cannot be read ({type(error).__name__}: {error})"
        raise DataError(named) from error


def _moments(mask: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Voxels, centroid (3,) and covariance (3, 3) of a mask (D, H, W), in voxels; each voxel is a unit cube."""
    count = int(np.count_nonzero(mask))
    centroid, covariance = np.zeros(3), np.zeros((3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        plane = mask.sum(axis=k, dtype=np.int64)  # the projection along k: all that i and j need, with little memory
        plane = plane if i < j else plane.T
        along_i, along_j = np.arange(mask.shape[i]), np.arange(mask.shape[j])
        profile = plane.sum(1)
        centroid[i] = profile @ along_i / count
        covariance[i, i] = profile @ (along_i - centroid[i]) ** 2 / count + 1 / 12
        center_j = plane.sum(0) @ along_j / count
        covariance[i, j] = covariance[j, i] = (along_i - centroid[i]) @ plane @ (along_j - center_j) / count
    return count, centroid, covariance


def _intensity(values: np.ndarray) -> dict[str, float]:
    percentiles = np.percentile(values, PERCENTILES)
    named = {f"p{fraction:g}": _rounded(value) for fraction, value in zip(PERCENTILES, percentiles, strict=True)}
    return {"mean": _rounded(values.mean(dtype=np.float64)), "sd": _rounded(values.std(dtype=np.float64)), **named}


def _rounded(numbers: Any) -> Any:
    """Six digits, as Python's own numbers."""
    if np.ndim(numbers):
        return [_rounded(number) for number in numbers]
    return float(f"{float(numbers):.6g}")
