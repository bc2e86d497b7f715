"""Write a prediction as the file that a person expects: same grid, same format, whole or not at all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.data.image_writer import ITKWriter, NibabelWriter
from monai.transforms import MapTransform
from torch import Tensor

from common.files import files_of, whole_file

__all__ = ["SavePredictiond", "prediction_path"]

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def prediction_path(output_dir: str | Path, case: str, image: str | Path | Sequence[str | Path]) -> Path:
    """``<output_dir>/<case>_seg<suffix>``: the image's format, NIfTI for a DICOM series or a format not written."""
    name = files_of(image)[0].lower()
    suffix = next((s for s in SUFFIXES if name.endswith(s)), ".nii.gz")
    suffix = {".nhdr": ".nrrd", ".mhd": ".mha"}.get(suffix, suffix)  # one file, not a header and its data
    return Path(output_dir) / f"{case}_seg{suffix}"


class SavePredictiond(MapTransform):
    """Save label maps (1, X, Y, Z) with their affine, under a temporary name first.

    Args:
        keys: label maps on the original grid, with the original affine.
        output_dir: folder, made if missing.
        scale: factor on the label values, 255 for the atrial challenge's 0 / 255.

    The items ``case`` and ``image`` give the file's name and format, see :func:`prediction_path`.
    The type is the smallest unsigned integer that holds the values.
    """

    def __init__(self, keys: Hashable, output_dir: str | Path, *, scale: int = 1) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            labels = out[key]
            if not isinstance(labels, MetaTensor):
                raise TypeError(f"{key} carries no affine: it cannot be placed in the patient")
            array = labels.cpu().numpy()
            array = array.astype(np.min_scalar_type(int(array.max(initial=0)) * self.scale)) * self.scale
            source = out["image"].meta["filename_or_obj"]
            self._write(array, labels, prediction_path(self.output_dir, str(out["case"]), source))
        return out

    @staticmethod
    def _write(array: np.ndarray, labels: MetaTensor, path: Path) -> None:
        writer_type = NibabelWriter if path.name.endswith((".nii", ".nii.gz")) else ITKWriter
        writer = writer_type(output_dtype=array.dtype)
        writer.set_data_array(array, channel_dim=0)
        writer.affine = labels.affine.cpu().numpy()  # its set_metadata would resample small or permuted volumes
        with whole_file(path) as file:
            writer.write(str(file))
