"""Write a prediction as the file that a person expects: same grid, same format, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.image_writer import ITKWriter
from monai.transforms import SaveImaged
from torch import Tensor

from common.files import files_of, is_file_name, whole_file
from common.transforms.volumes import grid_faults

__all__ = ["SaveImageAsPredictiond", "prediction_path"]

logger = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
PLACE = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
PLACE += ("srow_x", "srow_y", "srow_z")  # in a NIfTI header


def prediction_path(output_dir: str | Path, case: str, image: str | Path | Sequence[str | Path]) -> Path:
    """``<output_dir>/<case>_seg<suffix>``: the image's format, NIfTI for a DICOM series or a format not written.

    Raises:
        ValueError: for a case whose file would lie elsewhere.
    """
    if not is_file_name(case):
        raise ValueError(f"case {case!r} is no name of a file; expected one without / and not empty")
    name = files_of(image)[0].lower()
    suffix = next((s for s in SUFFIXES if name.endswith(s)), ".nii.gz")
    suffix = {".nhdr": ".nrrd", ".mhd": ".mha"}.get(suffix, suffix)  # one file, not a header and its data
    return Path(output_dir) / f"{case}_seg{suffix}"


class SaveImageAsPredictiond(SaveImaged):
    """Save label maps (1, X, Y, Z) in their image's place, under a temporary name first.

    A NIfTI answer to a NIfTI image says of its place what the image's header says: both matrices bit by bit, their
    codes, the voxel's sides and the unit of length. Hosts that write answers themselves drop it by its class or by its
    name, as MONAI's.

    Args:
        keys: label maps on the original grid, with the original affine.
        output_dir: folder, made if missing.
        scale: factor on the label values, 255 for the atrial challenge's 0 / 255.

    Raises:
        ValueError: for a label map on another grid than the image's file.

    The items ``case`` and ``image`` give the file's name and format, see :func:`prediction_path`.
    The type is the smallest unsigned integer that holds the values.
    """

    def __init__(self, keys: Hashable, output_dir: str | Path, *, scale: int = 1) -> None:
        super().__init__(keys, output_dir=output_dir)
        self.output_dir = Path(output_dir)
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            labels = out[key]
            if not isinstance(labels, MetaTensor):
                raise TypeError(f"{key} carries no affine: it cannot be placed in the patient")
            meta = out["image"].meta
            source = str(meta["filename_or_obj"])
            affine = labels.affine.cpu().double().numpy()
            expected = (meta["spatial_shape"], torch.as_tensor(meta["original_affine"]).cpu().double().numpy())
            faults = grid_faults((labels.shape[1:], affine), expected, like="the image")
            if faults:
                raise ValueError(f"{source}: the prediction's {faults[0]}; bring it back to the original grid first")
            array = labels.cpu().numpy()
            array = array.astype(np.min_scalar_type(int(array.max(initial=0)) * self.scale)) * self.scale
            if not array.any():
                logger.warning("%s: nothing was found, the answer is empty", out["case"])
            path = prediction_path(self.output_dir, str(out["case"]), source)
            with whole_file(path) as file:
                if path.name.endswith((".nii", ".nii.gz")):
                    nibabel.save(_nifti(array[0], affine, source), file)
                else:
                    _write_itk(array, affine, file)
        return out


def _nifti(array: np.ndarray, affine: np.ndarray, source: str) -> nibabel.Nifti1Image:
    """The array (X, Y, Z) where the header of ``source`` puts it, or its affine where that is no NIfTI file."""
    if not source.lower().endswith((".nii", ".nii.gz")) or not Path(source).is_file():
        image = nibabel.Nifti1Image(array, affine)
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
        image.header.set_xyzt_units("mm")
        return image
    stored = nibabel.load(source).header
    header = type(stored)()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    for name in PLACE:
        header[name] = stored[name]
    header["pixdim"][:4] = stored["pixdim"][:4]
    header.set_xyzt_units(stored.get_xyzt_units()[0])
    version = nibabel.Nifti2Image if isinstance(stored, nibabel.Nifti2Header) else nibabel.Nifti1Image
    return version(array, None, header)


def _write_itk(array: np.ndarray, affine: np.ndarray, file: Path) -> None:
    writer = ITKWriter(output_dtype=array.dtype)
    writer.set_data_array(array, channel_dim=0)
    writer.affine = affine  # its set_metadata would resample small or permuted volumes
    writer.write(str(file))
