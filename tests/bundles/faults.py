"""Faults of a case's files: how to damage a file, and what is then said about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import nrrd
import numpy as np
from monai.transforms import LoadImage

from common.transforms import register_readers
from tests.volumes import LPS, write

__all__ = ["FAULTS", "Fault", "volume_of"]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file.

    Args:
        key: ``"image"`` or ``"label"``.
        damage: makes a sound file such a one.
        text: what the message says.
    """

    key: str
    damage: Callable[[str], object]
    text: str


def volume_of(path: str) -> tuple[np.ndarray, np.ndarray]:
    """A volume (C, X, Y, Z), as stored, and its affine."""
    reader = LoadImage(image_only=True, ensure_channel_first=True, dtype=None)
    register_readers(reader)
    volume = reader(path)
    return volume.numpy(), volume.affine.numpy()


def _changed(change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Callable[[str], object]:
    """Damage that rewrites a file with another array or affine."""

    def damage(path: str) -> None:
        volume, affine = change(*volume_of(path))
        write(Path(path), volume[0] if len(volume) == 1 else np.moveaxis(volume, 0, -1), affine)

    return damage


def _with_value(value: float) -> Callable[[str], object]:
    """Damage of a single voxel, in float32."""

    def change(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        volume = volume.astype(np.float32)
        volume[-1, 1, 1, 1] = value
        return volume, affine

    return _changed(change)


def _placed(change: Callable[[np.ndarray], None]) -> Callable[[str], object]:
    """Damage of the affine in the header alone, as no library would write it; ``change`` works in place."""

    def damage(path: str) -> None:
        affine = volume_of(path)[1]
        change(affine)
        if path.endswith(".nrrd"):
            array, header = nrrd.read(path)
            lps = LPS @ affine
            if np.isnan(lps).any():  # NRRD has no such number
                lps[:3, 3] = np.inf
            header |= {
                "space": "left-posterior-superior",
                "space directions": lps[:3, :3].T,
                "space origin": lps[:3, 3],
            }
            nrrd.write(path, array, header)
            return
        image = nibabel.load(path)
        header = image.header.copy()
        header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
        header["sform_code"], header["qform_code"] = 1, 0
        damaged = type(image)(np.asarray(image.dataobj), None, header)
        damaged.header["srow_x"], damaged.header["srow_y"], damaged.header["srow_z"] = affine[:3]
        damaged.header["sform_code"] = 1
        nibabel.save(damaged, path)

    return damage


def _without_side(affine: np.ndarray) -> None:
    affine[:3, 2] = 0


def _in_a_plane(affine: np.ndarray) -> None:
    affine[:3, 2] = affine[:3, 1]


def _nowhere(affine: np.ndarray) -> None:
    affine[0, 3] = np.nan


def _truncate(path: str) -> None:
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])


def _pipe(path: str) -> None:
    Path(path).unlink()
    os.mkfifo(path)


def _aside(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tenth of the smallest voxel side away."""
    moved = affine.copy()
    moved[0, 3] += 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min()
    return volume, moved


FAULTS = {
    "constant": Fault("image", _changed(lambda v, a: (np.concatenate([v[:-1], 0 * v[-1:] + 7]), a)), "constant image"),
    "NaN": Fault("image", _with_value(np.nan), "1 voxels"),
    "zero spacing": Fault("image", _placed(_without_side), "affine is singular"),
    "singular affine": Fault("image", _placed(_in_a_plane), "affine is singular"),
    "affine of NaN": Fault("image", _placed(_nowhere), "not finite"),
    "truncated": Fault("image", _truncate, "cannot be read"),
    "channels": Fault("image", _changed(lambda v, a: (np.concatenate([v, v[:1]]), a)), " channels, "),
    "2-D": Fault("image", _changed(lambda v, a: (v[..., :1], a)), "not a 3-D volume"),
    "infinite": Fault("image", _with_value(np.inf), "1 voxels"),
    "label value": Fault("label", _with_value(77), "label value 77 not allowed"),
    "negative label": Fault("label", _with_value(-1), "label value -1 not allowed"),
    "half a label": Fault("label", _with_value(0.5), "label value 0.5 not allowed"),
    "label of NaN": Fault("label", _with_value(np.nan), "label value nan not allowed"),
    "label elsewhere": Fault("label", _changed(_aside), "affine differs"),
    "label of another shape": Fault("label", _changed(lambda v, a: (v[:, 1:], a)), "shape ("),
    "truncated label": Fault("label", _truncate, "cannot be read"),
    "missing label": Fault("label", lambda path: Path(path).unlink(), "no such file or folder"),
    "label that is a pipe": Fault("label", _pipe, "a pipe, a socket or a device"),
    "label of two channels": Fault("label", _changed(lambda v, a: (np.concatenate([v, v]), a)), " channels, "),
}
