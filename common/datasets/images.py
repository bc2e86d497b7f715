"""The images that a folder holds, by the names and layouts that are known, and what is passed over."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import LeftOut, entries_of, named_in
from common.datasets.layouts.bids import bids_data_set, is_bids
from common.datasets.layouts.brats import brats_images
from common.datasets.layouts.channel_files import channel_of, channels_in, images_by_case
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.datalist import datalist_data_set, is_datalist
from common.datasets.layouts.decathlon import decathlon_datalist
from common.datasets.layouts.flare21 import flare21_datalist
from common.datasets.layouts.images_labels import images_labels_data_set, is_images_labels
from common.datasets.layouts.nnunet import is_nnunet, nnunet_data_set
from common.datasets.names import CHALLENGE_IMAGE, CHANNEL, SUFFIXES, case_of
from common.files import entry_fault, files_of
from common.transforms.dicom import dicom_class, holds_slices

__all__ = ["ImageSearch"]

logger = logging.getLogger(__name__)

LABEL = re.compile(r"laendo\.nrrd|segmentation-\d+\.nii(\.gz)?", re.IGNORECASE)  # the atrial challenge's and LiTS's
DATA = (".raw", ".zraw", ".raw.gz")  # to which a header .mhd or .nhdr points
DEPTH = 6  # folders within folders: PATIENT/STUDY/SERIES, and as many above them
EXPECTED = f"files {', '.join(SUFFIXES)}, DICOM series in any folders, or <patient>/{CHALLENGE_IMAGE}"
PREDICTION = "*_seg, predictions of an earlier run"
Image = Path | list[Path]
# Layouts that are read as in training; for the others, names tell images from labels.
DATA_SETS = (
    (is_nnunet, nnunet_data_set),
    (is_datalist, datalist_data_set),
    (is_bids, bids_data_set),
    (is_images_labels, images_labels_data_set),
)


class ImageSearch:
    """Find images; what is passed over on the way is said at the end, in a line for each reason.

    Args:
        output_dir: ``<case>_seg<suffix>`` right in it are predictions of an earlier run; so are those that lie beside
            their image.
    """

    def __init__(self, output_dir: str | Path | None = None) -> None:
        self.output_dir = None if output_dir is None else os.path.realpath(output_dir)
        self.left_out = LeftOut()
        self.predictions = 0  # passed over
        self.cases: dict[str, str] = {}  # an image's first file -> what a data set calls the case

    def at(self, path: Path) -> list[Image]:
        """The images and series at ``path``, a list where each channel is a file; empty where all are predictions.

        Raises:
            DataError: where nothing of the kind is there, or may be read.
        """
        fault = entry_fault(path)
        if fault:
            raise DataError(f"{path}: {fault}")
        if not os.path.isdir(path) and path.suffix.lower() != ".csv":
            return self._file(path)
        before = self.predictions
        if read := next((read for fits, read in DATA_SETS if fits(path)), None):
            found = self._of_data_set(read(path))
        elif os.path.isfile(path / "dataset.json"):
            found = _of_decathlon(path)
        elif os.path.isdir(path / "val_images") or os.path.isdir(path / "train_images"):
            found = _of_flare21(path)
        else:
            found = self._folder(path)
        if not found and self.predictions == before:
            raise DataError(f"{path}: holds no image; expected {EXPECTED}")
        return found

    def _of_data_set(self, found: DataSet) -> list[Image]:
        """The unlabeled images of a data set, or else those of its training, with the names that it gives them."""
        images: list[Image] = []
        for item in found.unlabeled or found.cases:
            files = files_of(item["image"])
            self.cases[files[0]] = item["case"]
            images.append(Path(files[0]) if len(files) == 1 else [Path(file) for file in files])
        return images

    def _file(self, path: Path) -> list[Image]:
        if self._is_written_here(path):
            self._leave_prediction(path)
            return []
        if not path.name.lower().endswith(SUFFIXES) and not holds_slices(path):
            raise DataError(f"{path}: not an image; expected {', '.join(SUFFIXES)} or a slice of DICOM")
        return [path]

    def _folder(self, folder: Path) -> list[Image]:
        if contrasts := brats_images(folder):
            return [contrasts]
        files, folders, others = self._sorted(folder)
        if self._is_series(others):
            if files:
                raise DataError(f"{folder}: holds DICOM files and other images; give the series a folder of its own")
            return [folder, *self._below(folders, {_identity(folder)})]
        if files:
            for path in folders:
                self.left_out.add(path, "folders beside images", level=logging.INFO)
            return _with_channels(folder, files)
        return self._below(folders, {_identity(folder)})

    def _sorted(self, folder: Path) -> tuple[list[Image], list[Path], list[Path]]:
        """Image files but for labels and predictions, folders, and other files; what is none of these is left out."""
        files, folders, others = [], [], []
        for path in entries_of(folder):
            image = path.name.lower().endswith(SUFFIXES)
            if fault := entry_fault(path):
                self.left_out.add(path, fault)
            elif not os.path.isdir(path):
                (files if image else others).append(path)
            elif image:
                self.left_out.add(path, "a folder named like an image")
            else:
                folders.append(path)
        labels = {(channel[1] + channel[2]).lower() for path in files if (channel := CHANNEL.fullmatch(path.name))}
        cases = {case_of(path) for path in files}
        images = []
        for path in files:
            if LABEL.fullmatch(path.name) or path.name.lower() in labels:
                self.left_out.add(path, "labels", level=logging.INFO)
            elif self._is_written_here(path) or _is_prediction(path, cases):
                self._leave_prediction(path)
            else:
                images.append(path)
        return images, folders, others

    def _is_series(self, files: list[Path]) -> bool:
        """Whether there is a slice among the files; how many series they make, the reader sees."""
        if any(holds_slices(path) for path in files):
            return True
        for path in files:
            if dicom_class(path) is not None:
                self.left_out.add(path, "DICOM without slices, such as reports, plans and segmentations")
            elif not path.name.lower().endswith(DATA):
                self.left_out.add(path, "files that are no image", level=logging.INFO)
        return False

    def _below(self, folders: list[Path], above: set[tuple[int, int]]) -> list[Image]:
        return [image for folder in folders for image in self._of_patient(folder, above)]

    def _of_patient(self, folder: Path, above: set[tuple[int, int]]) -> list[Image]:
        """The images in a folder within the folder: of a patient of a challenge, or series, in further folders too."""
        if _identity(folder) in above:
            self.left_out.add(folder, "a link back to a folder above it")
            return []
        try:
            entries_of(folder)
        except DataError as error:
            self.left_out.add(folder, str(error).removeprefix(f"{folder}: "))
            return []
        image = named_in(folder, CHALLENGE_IMAGE)
        if os.path.isfile(image):
            return [image]
        if contrasts := brats_images(folder):
            return [contrasts]
        files, folders, others = self._sorted(folder)
        series = [folder] if self._is_series(others) else []
        for path in files if series else []:
            self.left_out.add(path, "images beside a DICOM series")
        if folders and len(above) < DEPTH:
            return series + self._below(folders, above | {_identity(folder)})
        if folders:
            self.left_out.add(folder, f"more than {DEPTH} folders deep")
        elif not series and files:
            self.left_out.add(folder, "a folder of images with names of their own: name it alone, or them in a list")
        elif not series and self.output_dir != os.path.realpath(folder):
            self.left_out.add(folder, f"a folder with neither {CHALLENGE_IMAGE} nor a DICOM series")
        return series

    def _is_written_here(self, path: Path) -> bool:
        """Whether the file is a prediction of an earlier run, ``<case>_seg<suffix>`` right in the output folder."""
        return case_of(path).endswith("_seg") and os.path.realpath(path.parent) == self.output_dir

    def _leave_prediction(self, path: Path) -> None:
        self.predictions += 1
        self.left_out.add(path, PREDICTION, level=logging.INFO)


def _is_prediction(path: Path, cases: set[str]) -> bool:
    case = case_of(path)
    return case.endswith("_seg") and case.removesuffix("_seg") in cases


def _with_channels(folder: Path, files: list[Path]) -> list[Image]:
    """The files, but those that are channels of one image together, by nnU-Net's names: ``CASE_0000``, ``CASE_0001``.

    Where a case has several, the others are expected to have as many.
    """
    count = channels_in(files)
    if count < 2:
        return list(files)
    channels = [path for path in files if (named := channel_of(path)) and named[1] < count]
    images = images_by_case(channels, channels=count)
    logger.info("%s: %d files are the %d channels of %d images", folder, len(channels), count, len(images))
    return [*images.values(), *(path for path in files if path not in channels)]


def _of_decathlon(folder: Path) -> list[Image]:
    try:
        cases = decathlon_datalist(folder, "test")
    except DataError:  # none listed
        cases = []
    if not any(os.path.exists(case["image"]) for case in cases):  # many a copy was made without them
        logger.info("%s: no test images are there; the training images are predicted", folder)
        cases = decathlon_datalist(folder)
    return [Path(case["image"]) for case in cases]


def _of_flare21(folder: Path) -> list[Image]:
    try:
        cases = flare21_datalist(folder, "val")
    except DataError:  # none there
        cases = flare21_datalist(folder)
    return [Path(case["image"]) for case in cases]


def _identity(folder: Path) -> tuple[int, int]:
    stat = os.stat(folder)
    return stat.st_dev, stat.st_ino
