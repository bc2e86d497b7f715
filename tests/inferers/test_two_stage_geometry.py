"""Two stages on fixed grids: an organ stays where it is in the patient, whatever the directions of the file's axes."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, Invertd
from nibabel.orientations import apply_orientation, inv_ornt_aff
from torch import Tensor, nn

from common.engines import CohortDataset, FaultTolerantEvaluator
from common.handlers import FailureLog
from common.inferers import CoarseToFineInferer, FixedGridInferer, Locator
from common.transforms import ComponentFilterd, FixedGrid, OrganBox, SaveImageAsPredictiond, load_on_grid
from tests.volumes import AFFINE, read, write

SHAPE = (40, 36, 24)
LEVELS = (100, 200, 300, 400)  # intensities of liver, kidneys, spleen, pancreas
SIGNS = list(product((1, -1), repeat=3))
ORGANS = {  # label -> cuboids in voxels, off the center and of different sides
    1: [((6, 16), (8, 22), (6, 13))],
    2: [((20, 26), (10, 16), (5, 9)), ((20, 26), (24, 30), (5, 9))],
    3: [((28, 34), (8, 20), (10, 18))],
    4: [((8, 18), (26, 31), (14, 18))],
}


class ByIntensity(nn.Module):
    """Organ k where the intensity is within 30 of the k-th level."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([(30 - (x - level).abs()).clamp(min=-30) for level in LEVELS], dim=1)


def organs() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int16)
    for label, cuboids in ORGANS.items():
        for cuboid in cuboids:
            labels[tuple(slice(a, b) for a, b in cuboid)] = label
    return labels


def predict(folder: Path, output_dir: Path) -> None:
    preprocessing = load_on_grid(["image"], classes=True)
    cases = [{"case": path.name.split(".")[0], "image": str(path)} for path in sorted(folder.iterdir())]
    locate = Locator(ByIntensity(), grid=FixedGrid(32), box=OrganBox(min_size=20, margin=4.0))
    failures = FailureLog(output_dir)
    FaultTolerantEvaluator(
        device="cpu",
        val_data_loader=DataLoader(CohortDataset(cases, preprocessing), batch_size=1),
        network=ByIntensity(),
        inferer=CoarseToFineInferer(locate, inferer=FixedGridInferer(48, threshold=0.0)),
        postprocessing=Compose(
            [
                ComponentFilterd("pred", min_size=40),
                Invertd("pred", preprocessing, orig_keys="image"),
                SaveImageAsPredictiond("pred", output_dir),
            ]
        ),
        failures=failures,
    ).run()
    assert failures.count == 0


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """Array and affine of the prediction of one oblique scan, stored in all directions."""
    folder, out = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("out")
    scan = np.concatenate([[-100], LEVELS])[organs()].astype(np.int16)
    names = {}
    for signs in SIGNS:
        orientation = np.c_[range(3), signs]
        name = "".join("pn"[sign < 0] for sign in signs)
        write(
            folder / f"{name}.nii.gz", apply_orientation(scan, orientation), AFFINE @ inv_ornt_aff(orientation, SHAPE)
        )
        names[signs] = name
    predict(folder, out)
    return {signs: read(out / f"{name}_seg.nii.gz") for signs, name in names.items()}


@pytest.mark.parametrize("signs", SIGNS)
def test_the_same_voxels_of_the_patient_have_the_same_labels(predictions, signs: tuple[int, ...]) -> None:
    array, affine = predictions[signs]
    plain, plain_affine = predictions[(1, 1, 1)]
    orientation = np.c_[range(3), signs]
    np.testing.assert_array_equal(array, apply_orientation(plain, orientation))
    np.testing.assert_allclose(affine, plain_affine @ inv_ornt_aff(orientation, SHAPE), atol=1e-4)


@pytest.mark.parametrize("label", ORGANS)
def test_every_organ_lies_inside_itself_and_fills_the_most_of_it(predictions, label: int) -> None:
    """All but rims: between two voxels of different intensity the network sees mixtures that belong to nobody."""
    array, affine = predictions[(1, 1, 1)]
    predicted, truth = array == label, organs() == label
    assert not (predicted & ~truth).any()
    assert predicted.sum() > 0.5 * truth.sum()
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)


def test_labels_are_bytes(predictions) -> None:
    assert {array.dtype for array, _ in predictions.values()} == {np.dtype(np.uint8)}
