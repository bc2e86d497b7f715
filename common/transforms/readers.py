"""Read what MONAI's readers would put in a wrong place or not know: NIfTI, DICOM, MetaImage and some NRRD files."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ITKReader, NibabelReader
from monai.transforms import LoadImage, LoadImaged
from monai.utils import ensure_tuple

from common.files import NO_UTF_8, printable
from common.transforms.dicom import dicom_class, holds_slices, stated_values

__all__ = ["NiftiReader", "VolumeReader", "register_readers"]

CHUNK = 2**20
TOLERANCE = 0.1  # of the distance between slices
MM = {"meter": 1e3, "micron": 1e-3}  # NIfTI's units of length
METAIMAGE = (".mha", ".mhd")
UPRIGHT = 0.01  # what two cosines' squares and product may be off 1 and 0
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
    "0020|000d": "StudyInstanceUID",
    "0020|0052": "FrameOfReferenceUID",
}
SHOWN = {"0028|0004": "PhotometricInterpretation", "0028|1053": "RescaleSlope"}


def register_readers(load: LoadImage | LoadImaged) -> LoadImage | LoadImaged:
    """Let MONAI's loader read with these readers what is theirs, and with its own all else."""
    load.register(NiftiReader())
    load.register(VolumeReader())
    return load


class NiftiReader(NibabelReader):
    """MONAI's ``NibabelReader`` with the place that the header states, in mm, and compressed files checked.

    MONAI (1.6.1) takes the qform, even one of code 0, where the sform's voxel sides are not ``pixdim`` to five digits,
    and passes over the unit of length. nibabel stops reading before the checksum of a compressed file.
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

    def _get_array_data(self, img: Any, filename: PathLike) -> np.ndarray:
        if not str(filename).lower().endswith(".gz"):
            return super()._get_array_data(img, filename)
        with gzip.open(filename) as stream:
            array = np.asanyarray(type(img).from_stream(stream).dataobj)
            while stream.read(CHUNK):  # to the end, where the checksum is
                pass
        return array


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
            along one line: some are missing or double, or the stack is sheared (gantry tilt). Also for slices, or
            frames of one file, that do not say how large their voxels are or where they lie, for slices of several
            patients or scans, damaged files beside them, values that ITK would invert (MONOCHROME1) or not scale; and
            for names that are no UTF-8, which ITK cannot open.
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
            image = super().read(path, **_input_of(path), **kwargs)
            if dicom_class(path) is not None:
                _check_slices([str(path)], image, path)
            return image
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

    itk.ProcessObject.SetGlobalWarningDisplay(False)  # what it says of series and their slices is said here, as errors
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
    read = {Path(file).name for file in found[0]}
    damaged = sorted(path.name for path in Path(folder).iterdir() if path.name not in read and _was_slice(path))
    if damaged:
        raise ValueError(
            f"{folder}: {damaged[0]} is empty or damaged, so that a slice may be missing ({len(damaged)} such "
            f"{'file' if len(damaged) == 1 else 'files'}); copy it again, or remove it"
        )
    return found[0]


def _was_slice(path: Path) -> bool:
    """Whether a file that ITK cannot read seems to have been a slice."""
    if not path.is_file() or path.name.startswith("."):
        return False
    return path.stat().st_size == 0 or (bool(dicom_class(path)) and holds_slices(path))


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


def _check_slices(files: list[str], image: Any, path: PathLike) -> None:
    """Raise unless each file is a slice of one scan, and lies where the volume's geometry puts it."""
    import itk

    frames = len(files) == 1 and itk.array_view_from_image(image).shape[0] > 1  # in one file
    first: dict[str, str] = {}
    origins, planes = [], []
    for file in files:
        header = itk.GDCMImageIO.New(FileName=file)
        header.ReadImageInformation()
        tags = header.GetMetaDataDictionary()
        keys = (*PLACE, *SHARED, *SHOWN)
        values = {tag: tags[tag].strip(" \0") if tags.HasKey(tag) else "" for tag in keys}
        if fault := _fault_of_slice(values, file, frames=frames):
            raise ValueError(f"{path}: {Path(file).name} {fault}")
        first = first or values
        differing = [name for tag, name in SHARED.items() if values[tag] != first[tag]]  # names are nobody's business
        if differing:
            raise ValueError(
                f"{path}: holds slices of several scans: {Path(files[0]).name} and {Path(file).name} differ in "
                f"{', '.join(differing)}; give each scan a folder of its own"
            )
        origins.append([header.GetOrigin(axis) for axis in range(3)])
        planes.append([*header.GetDirection(0), *header.GetDirection(1), header.GetSpacing(0), header.GetSpacing(1)])
    if np.ptp(planes, axis=0).max() > SAME:
        raise ValueError(
            f"{path}: the slices differ in PixelSpacing or ImageOrientationPatient; they are no one volume"
        )
    if frames:
        origins = _origins_of_frames(files[0], image, path)
    gap = itk.array_from_matrix(image.GetDirection())[:, 2] * image.GetSpacing()[2]  # mm from slice to slice
    expected = np.asarray(image.GetOrigin()) + np.arange(len(origins))[:, None] * gap
    worst = np.linalg.norm(np.asarray(origins) - expected, axis=1).max()
    if worst > TOLERANCE * np.linalg.norm(gap):
        raise ValueError(
            f"{path}: the slices are not evenly spaced along one line, the worst lies {worst:.3g} mm off; "
            "add missing slices, remove doubles, or resample a tilted stack"
        )


def _fault_of_slice(values: dict[str, str], file: str, *, frames: bool) -> str:
    """What ITK makes up or turns around in a file with these tags; of frames the place is in sequences."""
    if values["0028|0004"] == "MONOCHROME1":
        return "is MONOCHROME1, whose values ITK inverts; convert it to MONOCHROME2"
    if values["0028|1053"] and _numbers(values["0028|1053"]) in ([0.0], []):
        return f"has RescaleSlope {values['0028|1053']}: its values are unknown"
    found = {}
    for tag, name in PLACE.items():
        group, element = (int(part, 16) for part in tag.split("|"))
        found[name] = stated_values(file, group, element)[:1] if frames else [_numbers(values[tag])]
        if not (found[name] and found[name][0]) and (frames or not values[tag]):
            return f"has no {name}: its size or place is unknown"
    (spacing,), (position,), (axes,) = found.values()
    if len(spacing) != 2 or not all(0 < side < np.inf for side in spacing):
        return f"has PixelSpacing {_text(spacing)}, expected two numbers of more than 0"
    if len(position) != 3 or not np.isfinite(position).all():
        return f"has ImagePositionPatient {_text(position)}, expected three numbers"
    row, column = (np.array(axes[:3]), np.array(axes[3:])) if len(axes) == 6 else (np.zeros(3), np.zeros(3))
    if not max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) < UPRIGHT:
        return f"has ImageOrientationPatient {_text(axes)}, expected two directions of length 1 at a right angle"
    return ""


def _origins_of_frames(file: str, image: Any, path: PathLike) -> list[list[float]]:
    """Where the frames of one file say that they are, (frames, 3), in mm; raises where that is not for ITK to know."""
    import itk

    frames = itk.array_view_from_image(image).shape[0]
    origins = stated_values(file, 0x0020, 0x0032)
    (between_rows, between_columns), axes = stated_values(file, 0x0028, 0x0030)[0], stated_values(file, 0x0020, 0x0037)
    direction = itk.array_from_matrix(image.GetDirection())
    placed = np.allclose(direction[:, :2].T.ravel(), axes[0], atol=0.01) and np.allclose(
        list(image.GetSpacing())[:2], (between_columns, between_rows), atol=SAME
    )
    if len(origins) != frames or not all(len(origin) == 3 for origin in origins) or not placed:
        raise ValueError(
            f"{path}: its {frames} frames do not say one by one where they lie, as an enhanced object's do, or not "
            "in a way that ITK reads; convert it to one file for each slice"
        )
    return origins


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split("\\")]
    except ValueError:
        return []


def _text(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers) or "that is no number"
