"""A small anisotropic, oblique volume in three file formats, and predictions of it, for tests of geometry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import itk
import nibabel
import nrrd
import numpy as np
from monai.bundle import ConfigParser
from monai.data import DataLoader
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from common.engines import CohortDataset, FaultTolerantEvaluator
from common.inferers import CoarseToFineInferer, Locator
from common.transforms import LargestComponentBox, SpacingGrid

CONFIG = Path(__file__).parents[1] / "bundles/vnet_left_atrium/configs/inference.json"
SHAPE = (20, 24, 16)
VOXEL = np.array([0.7, 0.9, 1.6])  # mm
TURN = Rotation.from_euler("xyz", (0.3, -0.2, 0.4)).as_matrix()
AFFINE = np.eye(4)  # voxel to mm, RAS
AFFINE[:3, :3], AFFINE[:3, 3] = TURN * VOXEL, (-31.0, 17.0, 55.0)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # between NIfTI's millimeters (RAS) and those of DICOM and ITK (LPS)
PLAN = {
    "label_values": [0, 1, 255],
    "spacing": [1.0, 1.0, 1.0],
    "coarse_spacing": [2.0, 2.0, 2.0],
    "roi_size": [16, 16, 16],
    "window": None,
    "nonzero": False,
    "crop": "none",
    "crop_size": None,
    "intensity": "case",
    "demonstration_only": False,
}


def scan() -> np.ndarray:
    """A bright (200), lopsided structure off the center of a dark volume."""
    x, y, z = np.indices(SHAPE)
    body = ((x - 12) / 4) ** 2 + ((y - 8) / 5) ** 2 + ((z - 6) / 3) ** 2 < 1
    return (200 * (body | ((abs(x - 12) < 2) & (y > 8) & (y < 17) & (abs(z - 6) < 2)))).astype(np.uint16)


def center(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Center of mass in the patient, mm."""
    return affine[:3, :3] @ center_of_mass(array > 0) + affine[:3, 3]


def write(path: Path, array: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    """Write (X, Y, Z), or (X, Y, Z, channels) but to .mha, by the format's own library; its affine is RAS."""
    array = scan() if array is None else array
    lps = LPS @ affine
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    elif path.suffix == ".nrrd":
        others = array.ndim - 3
        directions = np.vstack([lps[:3, :3].T, np.full((others, 3), np.nan)])  # a row for each array axis
        header = {"space": "left-posterior-superior", "space directions": directions, "space origin": lps[:3, 3]}
        nrrd.write(str(path), array, {**header, "kinds": ["domain"] * 3 + ["vector"] * others})
    else:
        image = itk.image_from_array(np.ascontiguousarray(array.T))
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection(lps[:3, :3] / spacing)
        itk.imwrite(image, str(path))
    return path


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine (RAS) of a file, by the format's own library."""
    if path.name.endswith(".nii.gz"):
        image = nibabel.load(path)
        return np.asarray(image.dataobj), image.affine
    affine = np.eye(4)
    if path.suffix == ".nrrd":
        array, header = nrrd.read(str(path))
        affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    else:
        image = itk.imread(str(path))
        array = itk.array_from_image(image).T
        affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
    return array, LPS @ affine


class Bright(nn.Module):
    """Logits that are positive where the volume is bright."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 100) / 10


def inference(source: object, output_dir: Path, **knobs: object) -> ConfigParser:
    """The left-atrium bundle's inference.json, pointed at ``source``, with planned numbers that need no training."""
    config = ConfigParser()
    config.read_config(CONFIG)
    config.read_meta(CONFIG.parent / "metadata.json")
    config.update({"recorded": PLAN, "dataset_dir": source, "output_dir": str(output_dir), "device": "cpu", **knobs})
    return config


def predict(source: object, output_dir: Path, *, spacing: tuple[float, ...] | None = (1.0, 1.0, 1.0)) -> dict[str, str]:
    """Predict everything found at ``source`` with thresholds for both networks; the reasons of the cases that failed.

    All else is the bundle's own: reading, the locator on its coarse grid, crop and paste, postprocessing, writing.
    """
    config = inference(str(source), output_dir, recorded={**PLAN, "spacing": spacing})
    dataset = CohortDataset(config.get_parsed_content("cases"), config.get_parsed_content("preprocessing"))
    locate: Callable = Locator(Bright(), grid=SpacingGrid(PLAN["coarse_spacing"]), box=LargestComponentBox())
    FaultTolerantEvaluator(
        device="cpu",
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=Bright(),
        inferer=CoarseToFineInferer(locate, size=(14, 18, 12)),  # voxels to S, A, R: the structure and a little more
        postprocessing=config.get_parsed_content("postprocessing"),
        failures=config.get_parsed_content("failures"),
    ).run()
    return {row["case"]: row["reason"] for row in json.loads((output_dir / "failures.json").read_text())}
