"""Read what MONAI's readers would put in a wrong place or not know: NIfTI, DICOM, MetaImage and some NRRD files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ITKReader, NibabelReader
from monai.transforms import LoadImage
from monai.utils import ensure_tuple

from common.files import NO_UTF_8, printable
from common.transforms.dicom import dicom_class, holds_slices

__all__ = ["NiftiReader", "VolumeReader", "register_readers"]

TOLERANCE = 0.1  # of the distance between slices
MM = {"meter": 1e3, "micron": 1e-3}  # NIfTI's units of length
METAIMAGE = (".mha", ".mhd")
SAME = 1e-3  # mm, and sines of an angle, that slices of one volume may differ by
PLACE = {  # what ITK makes up where a slice lacks it
    "0028|0030": "PixelSpacing",
    "0020|0032": "ImagePositionPatient",
    "0020|0037": "ImageOrientationPatient",
}
SHARED = {  # what all slices of one scan have in common, if they have it
    "0010|0020": "PatientID",
    "0010|0010": "PatientName",
    "0020|000e": "SeriesInstanceUID",
    "0020|0052": "FrameOfReferenceUID",
}


def register_readers(load: LoadImage) -> LoadImage:
    """Let MONAI's loader read with these readers what is theirs, and with its own all else."""
    load.register(NiftiReader())
    load.register(VolumeReader())
    return load


class NiftiReader(NibabelReader):
    """MONAI's ``NibabelReader`` with the place that the header states, in mm.

    MONAI (1.6.1) takes the qform, even one of code 0, where the sform's voxel sides are not ``pixdim`` to five digits,
    and passes over the unit of length.
    """

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """The file as nibabel reads it."""
        import nibabel

        self.filenames = ensure_tuple(data)
        (path,) = self.filenames
        return nibabel.load(path, **{**self.kwargs, **kwargs})

    def _get_affine(self, img: Any) -> np.ndarray:
        affine = np.array(img.affine, dtype=float)
        affine[:3] *= MM.get(img.header.get_xyzt_units()[0], 1.0)
        return affine


class VolumeReader(ITKReader):
    """MONAI's ``ITKReader`` for DICOM, MetaImage and unusual NRRD files.

    A folder is one series, or refused with the reason; reports, plans and segmentations beside its slices do not count.
    DICOM files come here because ITK does not know all that lack a preamble, MetaImage files because it knows them by
    ``.mha`` and ``.mhd`` in small letters only. A NRRD file comes here unless it names its space in full,
    ``left-posterior-superior``, and its directions: MONAI's ``NrrdReader`` (1.6.1) takes ``LPS`` and
    ``left-anterior-superior`` for right-anterior-superior, and fails where that stands or directions are missing. All
    other files are left to MONAI's other readers.

    Raises:
        ValueError: for a folder with several series (or orientations, or sizes) or slices that are not evenly spaced
            along one line: some are missing or double, or the stack is sheared (gantry tilt). Also for slices that do
            not say how large their voxels are or where they lie, or that belong to several patients or scans; and for
            names that are no UTF-8, which ITK cannot open.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all are folders, DICOM, MetaImage or unusual NRRD files, or have names that ITK cannot open."""
        return all(_is_unusual(Path(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """The file, or the series of the folder, as an ITK image."""
        import itk

        (path,) = ensure_tuple(data)
        if NO_UTF_8.search(str(path)):
            raise ValueError(
                f"{path}: the name is no UTF-8, and ITK, which reads this format, cannot open it; rename it"
            )
        if not Path(path).is_dir():
            return super().read(path, **_input_of(path), **kwargs)
        files = _series_files(str(path))
        settings = {**self.kwargs, **kwargs, "imageio": itk.GDCMImageIO.New()}
        image = itk.imread(files if len(files) > 1 else files[0], **settings)
        _check_slices(files, image, path)
        return image


def _input_of(path: PathLike) -> dict[str, Any]:
    """What reads a file that ITK would not know by its name or its first bytes."""
    import itk

    if Path(path).suffix.lower() in METAIMAGE:
        return {"imageio": itk.MetaImageIO.New()}
    return {} if dicom_class(path) is None else {"imageio": itk.GDCMImageIO.New()}


def _is_unusual(path: Path) -> bool:
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in METAIMAGE:
        return True
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    if suffix != ".nrrd":
        return bool(NO_UTF_8.search(str(path))) or dicom_class(path) is not None
    import nrrd

    try:
        header = nrrd.read_header(str(path))
    except (OSError, ValueError, nrrd.NRRDError):  # the usual reader says what is wrong with it
        return False
    usual = header.get("dimension") == 3 and header.get("space") == "left-posterior-superior"
    return not (usual and "space directions" in header)


def _series_files(folder: str) -> list[str]:
    """The files of the folder's series, in the order of their slices."""
    import itk

    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)
    names.AddSeriesRestriction("0008|0021")  # as MONAI's reader
    names.SetDirectory(folder)
    found = [list(names.GetFileNames(uid)) for uid in names.GetSeriesUIDs()]
    odd = [Path(file).name for files in found for file in files if NO_UTF_8.search(file)]
    if odd:
        raise ValueError(f"{folder}: the name {odd[0]} is no UTF-8, and ITK cannot open it; rename it")
    found = [files for files in found if files and holds_slices(files[0])]
    if not found:
        raise ValueError(f"{folder}: holds no DICOM series with slices")
    if len(found) > 1:
        named = "; ".join(sorted(_described(files) for files in found))
        raise ValueError(f"{folder}: holds {len(found)} DICOM series ({named}); give each a folder of its own")
    return found[0]


def _described(files: list[str]) -> str:
    """A series by its number and description, such as ``series 3 "T1 axial", 16 files from IM010``."""
    import itk

    header = itk.GDCMImageIO.New(FileName=files[0])
    header.ReadImageInformation()
    tags = header.GetMetaDataDictionary()
    number, text = (tags[tag].strip(" \0") if tags.HasKey(tag) else "" for tag in ("0020|0011", "0008|103e"))
    name = " ".join(part for part in (number, f'"{printable(text)}"' if text else "") if part)
    count = f"{len(files)} {'file' if len(files) == 1 else 'files'}"
    return f"series {name or 'without a number'}, {count} from {Path(files[0]).name}"


def _check_slices(files: list[str], image: Any, folder: PathLike) -> None:
    """Raise unless each file is a slice of one scan, and lies where the volume's geometry puts it."""
    import itk

    if image.shape[0] != len(files):  # one file of many frames
        return
    first: dict[str, str] = {}
    origins, planes = [], []
    for file in files:
        header = itk.GDCMImageIO.New(FileName=file)
        header.ReadImageInformation()
        tags = header.GetMetaDataDictionary()
        values = {tag: tags[tag].strip(" \0") if tags.HasKey(tag) else "" for tag in (*PLACE, *SHARED)}
        missing = [name for tag, name in PLACE.items() if not values[tag]]
        if missing:
            raise ValueError(f"{folder}: {Path(file).name} has no {', '.join(missing)}: its size or place is unknown")
        first = first or values
        differing = [name for tag, name in SHARED.items() if values[tag] != first[tag]]  # names are nobody's business
        if differing:
            raise ValueError(
                f"{folder}: holds slices of several scans: {Path(files[0]).name} and {Path(file).name} differ in "
                f"{', '.join(differing)}; give each scan a folder of its own"
            )
        origins.append([header.GetOrigin(axis) for axis in range(3)])
        planes.append([*header.GetDirection(0), *header.GetDirection(1), header.GetSpacing(0), header.GetSpacing(1)])
    if np.ptp(planes, axis=0).max() > SAME:
        raise ValueError(
            f"{folder}: the slices differ in PixelSpacing or ImageOrientationPatient; they are no one volume"
        )
    gap = itk.array_from_matrix(image.GetDirection())[:, 2] * image.GetSpacing()[2]  # mm from slice to slice
    expected = np.asarray(image.GetOrigin()) + np.arange(len(files))[:, None] * gap
    worst = np.linalg.norm(np.asarray(origins) - expected, axis=1).max()
    if worst > TOLERANCE * np.linalg.norm(gap):
        raise ValueError(
            f"{folder}: the slices are not evenly spaced along one line, the worst lies {worst:.3g} mm off; "
            "add missing slices, remove doubles, or resample a tilted stack"
        )
