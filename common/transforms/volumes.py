"""What makes a volume unusable: one place for the check before training, for loading, and for references."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from common.command_line import innermost
from common.files import entry_fault

__all__ = ["grid_faults", "header_faults", "image_faults", "label_faults", "unreadable"]

# By how much of the smallest voxel side two grids may lie apart, at the corner where they are farthest apart, and still
# be one. Rounding stays below it: float32 headers (micrometers), sides written with four decimals (0.03 of a voxel over
# 512 of them). No real shift does: between a voxel's corner and its center there is a half.
ITK_ERROR = re.compile(r"/itk\w+\.cxx:|Could not create IO object")
TOLERANCE = 0.05
ROUNDING = 1e-3  # a stored float within it of a whole number is that number
LARGEST = 1e18  # its square, as in a standard deviation, is still a float32
SMALLEST_SIDE, LARGEST_SIDE = 1.0, 3000.0  # mm, of a whole volume: a patient's, and no unit mistaken for another
HEADER_SIZES = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))  # NIfTI-1, NIfTI-2
SINGULAR = 1e-3  # the volume that three axes span, over that of a box of their lengths: they lie in a plane below it


def unreadable(file: str, error: Exception) -> str:
    """What to say of a file that a reader failed on: ``<file>: <reason>``, in one line."""
    error = innermost(error)
    reason = (str(error).strip().splitlines() or [""])[0]
    if reason.startswith(f"{file}: "):
        return reason
    if ITK_ERROR.search(reason) or not reason:  # an address in its source, and often a wrong reason: "no such file"
        reason = "damaged, cut off, or another format than its name says"
    if isinstance(error, KeyError):
        reason = f"the header has no {reason}"
    return f"{file}: cannot be read ({type(error).__name__}: {reason[:160]})"


def header_faults(file: str) -> list[str]:
    """Why a path is no file that can be read, and what a NIfTI file's header says of its place that cannot be.

    To be asked before the file is read: nibabel takes a voxel side of 0 for 1 mm and one below 0 for its opposite,
    passes over a broken matrix where it has another, and puts a volume without any matrix in the middle of nowhere.
    """
    if fault := entry_fault(file):
        return [fault]
    if not file.lower().endswith((".nii", ".nii.gz")):
        return []
    if os.path.isdir(file):
        return ["a folder named like an image"]
    import nibabel

    if fault := _packing_fault(file):
        return [fault]
    try:
        with nibabel.openers.ImageOpener(file) as opened:
            block = opened.read(nibabel.Nifti2Header.sizeof_hdr)
        known = [v for v in (nibabel.Nifti1Header, nibabel.Nifti2Header) if v.may_contain_header(block)]
        if not known:
            return []
        version = known[0]
        header = version(block[: version.sizeof_hdr], check=False)
        kind = header.get_data_dtype().kind
    except Exception:  # whoever reads it says what is wrong with it
        return []
    if kind not in "iuf":
        return ["holds colors or complex numbers, expected one number for each voxel"]
    sides = np.asarray(header["pixdim"][1:4], float)
    if not np.isfinite(sides).all() or not (sides > 0).all():
        return [f"voxel sides are {_by(sides)} mm (pixdim), expected more than 0"]
    return _place_faults(header, sides)


def _packing_fault(file: str) -> str:
    """How a NIfTI file's name and content disagree about compression."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(4)
    except OSError:  # whoever reads it says so
        return ""
    packed, named = start.startswith(b"\x1f\x8b"), file.lower().endswith(".gz")
    if packed and not named:
        return "is compressed, but not named so; rename it to .nii.gz"
    if named and start in HEADER_SIZES:
        return "is not compressed, but named so; rename it to .nii"
    return ""


def _place_faults(header: Any, sides: np.ndarray) -> list[str]:
    """What a NIfTI header's matrices say that cannot be; its ``sides`` are those of ``pixdim``."""
    from nibabel.nifti1 import xform_codes

    faults, header = [], header.copy()
    handedness = float(header["pixdim"][0])
    header["pixdim"][0] = handedness or 1.0  # so NIfTI says
    for name, matrix in (("sform", header.get_sform), ("qform", header.get_qform)):
        code = int(header[f"{name}_code"])
        if code not in xform_codes.value_set():  # nibabel takes it for 0, no matrix
            faults.append(f"{name}_code {code} is none of NIfTI's")
        elif code > 0 and name == "qform" and header["pixdim"][0] not in (1.0, -1.0):
            faults.append(f"qform: pixdim[0] is {handedness:g}, expected 1 or -1")
        elif code > 0:
            try:
                wrong = _affine_faults(matrix())
            except (ValueError, np.linalg.LinAlgError):  # a quaternion that is longer than 1, or not finite
                wrong = ["its quaternion is no rotation"]
            if name == "sform" and not wrong:
                stated, steps = _sides(matrix()), np.maximum(header["dim"][1:4] - 1, 1)
                if (np.abs(stated - sides) * steps > TOLERANCE * np.minimum(stated, sides)).any():
                    wrong = [f"voxel sides are {_by(stated)} mm, and {_by(sides)} mm by pixdim; correct one of them"]
            faults += [f"{name}: {fault}" for fault in wrong]
    return faults


def image_faults(volume: np.ndarray, affine: np.ndarray, *, channels: int) -> list[str]:
    """Why an image can be neither trained on nor predicted.

    Args:
        volume: (C, X, Y, Z), of any type.
        affine: voxel to mm (4, 4).
        channels: as many as there must be. Each of them must hold more than one value: a network would make something
            up for a constant one. Blocks of one value within a channel are usual.
    """
    faults = _shape_faults(volume, affine, channels)
    if faults:
        return faults
    for number, channel in enumerate(volume):
        where = f" of channel {number}" if channels > 1 else ""
        with np.errstate(over="ignore"):  # loaded as float32, where 1e39 is infinite
            low, high = np.float32(channel.min()), np.float32(channel.max())  # NaN where one is
        if not np.isfinite(low) or not np.isfinite(high):
            with np.errstate(over="ignore"):
                count = np.sum(~np.isfinite(channel.astype(np.float32)))
            faults.append(f"{count} voxels{where} are not finite (NaN or infinite)")
        elif low == high:
            faults.append(f"constant image: every voxel{where} is {low:g}")
        elif max(-low, high) > LARGEST:
            faults.append(f"values{where} reach {max(-low, high):g}, expected less than {LARGEST:g} to compute with")
    return faults


def label_faults(volume: np.ndarray, affine: np.ndarray, *, values: Sequence[int] | None) -> list[str]:
    """Why a label can be neither trained on nor compared with; an empty one can be compared with.

    Args:
        volume: (C, X, Y, Z), of any type; a float within 0.001 of a whole number counts as that number.
        affine: voxel to mm (4, 4).
        values: that a label may have; None: all whole numbers.
    """
    faults = _shape_faults(volume, affine, 1)
    if faults:
        return faults
    slabs = np.moveaxis(volume[0], int(np.argmax(np.abs(volume.strides[1:]))), 0)  # as they lie in memory
    wrong = np.unique(np.concatenate([_wrong_values(slab, values) for slab in slabs]))
    if wrong.size:
        some = ", ".join(f"{value:g}" for value in wrong[:5]) + (", ..." if wrong.size > 5 else "")
        expected = "whole numbers" if values is None else ", ".join(str(int(value)) for value in sorted(values))
        faults.append(f"label value {some} not allowed; expected {expected}")
    return faults


def grid_faults(
    grid: tuple[Sequence[int], np.ndarray], expected: tuple[Sequence[int], np.ndarray], *, like: str
) -> list[str]:
    """How a grid differs from another: nothing where they are one, but for rounding, or one of them cannot be.

    Args:
        grid: shape (X, Y, Z) and affine (4, 4), voxel to mm.
        expected: the other's.
        like: the other's name, for the text.
    """
    (shape, affine), (other_shape, other) = ((tuple(map(int, sides)), matrix) for sides, matrix in (grid, expected))
    if any(
        len(sides) != 3 or min(sides) < 2 or _affine_faults(m) for sides, m in ((shape, affine), (other_shape, other))
    ):
        return []
    if shape != other_shape:
        return [f"shape {shape} differs from {like}'s {other_shape}"]
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))])  # (8, 4)
    gap = corners @ (np.asarray(affine, float) - np.asarray(other, float)).T
    apart = np.linalg.norm(gap[:, :3], axis=1).max()
    if not apart <= TOLERANCE * _sides(other).min():
        return [f"affine differs from {like}'s, by up to {apart:.4g} mm"]
    return []


def _shape_faults(volume: np.ndarray, affine: np.ndarray, channels: int) -> list[str]:
    if volume.ndim != 4 or min(volume.shape[1:]) < 2:
        return [f"not a 3-D volume ({' x '.join(map(str, volume.shape[1:]))} voxels)"]
    if len(volume) != channels:
        return [f"has {len(volume)} {'channel' if len(volume) == 1 else 'channels'}, expected {channels}"]
    return _affine_faults(affine) or _size_faults(_sides(affine) * volume.shape[1:])


def _size_faults(extent: np.ndarray) -> list[str]:
    if extent.min() >= SMALLEST_SIDE and extent.max() <= LARGEST_SIDE:
        return []
    expected = f"{SMALLEST_SIDE:g} to {LARGEST_SIDE:g} mm"
    return [f"is {_by(extent)} mm large, expected {expected}; correct the voxel sides or their unit"]


def _affine_faults(affine: np.ndarray) -> list[str]:
    affine = np.asarray(affine, float)
    if not np.isfinite(affine).all():
        return ["affine is not finite (NaN or infinite)"]
    sides = _sides(affine)
    if not sides.all():
        return [f"affine is singular: voxel sides are {_by(sides)} mm"]
    if abs(np.linalg.det(affine[:3, :3] / sides)) < SINGULAR:
        return ["affine is singular: its axes lie in one plane"]
    return []


def _sides(affine: np.ndarray) -> np.ndarray:
    """Sides of a voxel in mm, (3,)."""
    return np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)


def _by(numbers: np.ndarray) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def _wrong_values(label: np.ndarray, values: Sequence[int] | None) -> np.ndarray:
    """The values that are none of these, each once."""
    whole = label.dtype.kind in "iub"
    if values is None and whole:
        return label[:0].ravel()
    right = np.zeros(label.shape, bool)
    with np.errstate(invalid="ignore"):  # infinite - infinite
        for value in [np.rint(label)] if values is None else values:
            right |= label == value if whole else np.abs(label - np.asarray(value, label.dtype)) <= ROUNDING
    return np.unique(label[~right])
