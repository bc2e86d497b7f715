"""A structure stays where it is in the patient: from the file, through both grids, to the file that is written."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import itk
import nibabel
import nrrd
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.data import DataLoader
from nibabel.orientations import apply_orientation, inv_ornt_aff
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation
from torch import nn

from common.engines import CohortDataset, CohortEvaluator
from common.handlers import FailureLog
from common.inferers import CoarseToFineInferer
from common.transforms import mask_box

SHAPE = (20, 24, 16)
VOXEL = (0.7, 0.9, 1.6)  # mm
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORIENTATIONS = [np.c_[axes, signs] for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """A bright, lopsided structure off the centre of a dark volume, and its oblique affine (RAS, mm)."""
    x, y, z = np.indices(SHAPE)
    body = ((x - 12) / 4) ** 2 + ((y - 8) / 5) ** 2 + ((z - 6) / 3) ** 2 < 1
    horn = (abs(x - 12) < 2) & (y > 8) & (y < 17) & (abs(z - 6) < 2)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (0.3, -0.2, 0.4)).as_matrix() * VOXEL
    affine[:3, 3] = (-31.0, 17.0, 55.0)
    return 200.0 * (body | horn).astype(np.float32), affine


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    lps = LPS @ affine
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    elif path.suffix == ".nrrd":
        header = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3]}
        nrrd.write(str(path), array, header | {"kinds": ["domain"] * 3})
    else:
        image = itk.image_from_array(np.ascontiguousarray(array.T))
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection(lps[:3, :3] / spacing)
        itk.imwrite(image, str(path))


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
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


def centre(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of mass in the patient, mm."""
    return affine[:3, :3] @ center_of_mass(array > 0) + affine[:3, 3]


class Bright(nn.Module):
    """Logits that are positive where the crop is bright."""

    def forward(self, x):
        return (x - 100) / 10


def predict(images: list[Path], output_dir: Path, *, spacing: tuple[float, ...] | None) -> list[Path]:
    """The bundle's own loading and postprocessing, around a locator and a network that only look at brightness."""
    config = ConfigParser()
    config.read_config(Path(__file__).parents[2] / "bundles/vnet_left_atrium/configs/inference.json")
    config["fit"] = {"spacing": spacing}
    config["output_dir"] = str(output_dir)
    cases = [{"case": f"{i:02d}", "image": str(image)} for i, image in enumerate(images)]
    dataset = CohortDataset(cases, config.get_parsed_content("preprocessing"))
    CohortEvaluator(
        device="cpu",
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=Bright(),
        inferer=CoarseToFineInferer(lambda volume: mask_box(volume[0] > 100), size=(16, 16, 16)),
        postprocessing=config.get_parsed_content("postprocessing"),
        failures=FailureLog(output_dir),
    ).run()
    return [output_dir / f"{case['case']}_seg{''.join(images[0].suffixes)}" for case in cases]


def write_oriented(folder: Path, suffix: str, orientations: list[np.ndarray]) -> list[Path]:
    """The same phantom with its axes stored in other orders and directions: the patient does not move."""
    array, affine = phantom()
    paths = [folder / f"in{i:02d}{suffix}" for i in range(len(orientations))]
    for path, orientation in zip(paths, orientations, strict=True):
        write(path, apply_orientation(array, orientation), affine @ inv_ornt_aff(orientation, SHAPE))
    return paths


@pytest.mark.parametrize(
    ("suffix", "orientations"), [(".nrrd", ORIENTATIONS), (".nii.gz", ORIENTATIONS[::6]), (".mha", ORIENTATIONS[3::6])]
)
def test_structure_is_written_where_it_is_in_the_patient_from_every_orientation(tmp_path, suffix, orientations):
    expected = centre(*phantom())
    images = write_oriented(tmp_path, suffix, orientations)
    for image, prediction in zip(images, predict(images, tmp_path / "out", spacing=(1.0, 1.0, 1.0)), strict=True):
        (given, given_affine), (array, affine) = read(image), read(prediction)
        assert array.shape == given.shape
        np.testing.assert_allclose(affine, given_affine, atol=1e-4)
        assert np.linalg.norm(centre(array, affine) - expected) < 0.5 * min(VOXEL), image.name


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_without_resampling_every_voxel_comes_back_to_its_place(tmp_path, suffix):
    images = write_oriented(tmp_path, suffix, ORIENTATIONS[5::17])
    for image, prediction in zip(images, predict(images, tmp_path / "out", spacing=None), strict=True):
        np.testing.assert_array_equal(read(prediction)[0], np.where(read(image)[0] > 100, 255, 0))
