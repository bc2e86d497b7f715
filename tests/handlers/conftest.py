"""A cohort on disk, and MONAI's evaluator over it with a network whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import AsDiscreted, Compose, Invertd

from common.transforms import load_on_grid

# voxels of 0.8 × 1.2 × 2.5 mm, first axis to the patient's left, second to the back: as many scanners write
AFFINE = np.diag([-0.8, -1.2, 2.5, 1.0])
AFFINE[:3, 3] = (12.0, -7.0, 30.0)


class Brightness(torch.nn.Module):
    """Segments whatever is brighter than zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).float()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Write one case: the image is positive where ``predicted``, the label 255 where ``true``."""

    def write_case(case: str, predicted: np.ndarray, true: np.ndarray | None, affine: np.ndarray = AFFINE) -> dict:
        item = {"case": case, "image": str(tmp_path / f"{case}.nii.gz")}
        gradient = np.linspace(1, 2, predicted.shape[0])[:, None, None]
        nibabel.save(
            nibabel.Nifti1Image(np.where(predicted, gradient, -gradient).astype(np.float32), AFFINE), item["image"]
        )
        if true is not None:
            item["label"] = str(tmp_path / f"{case}_label.nii.gz")
            nibabel.save(nibabel.Nifti1Image(true.astype(np.uint8) * 255, affine), item["label"])
        return item

    return write_case


@pytest.fixture
def evaluate() -> Callable[..., SupervisedEvaluator]:
    """Run the evaluator on cases, with postprocessing back to the original grid."""

    def run(cases: list[dict[str, str]], *handlers: object) -> SupervisedEvaluator:
        preprocessing = load_on_grid(["image"])
        postprocessing = Compose(
            [
                Invertd("pred", transform=preprocessing, orig_keys="image"),
                AsDiscreted("pred", threshold=0.5, dtype=torch.uint8),
            ]
        )
        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=DataLoader(Dataset(cases, preprocessing), batch_size=1),
            network=Brightness(),
            postprocessing=postprocessing,
            val_handlers=list(handlers),
        )
        evaluator.run()
        return evaluator

    return run


@pytest.fixture
def cuboid() -> Callable[..., np.ndarray]:
    """A mask (20, 16, 12) with one cuboid."""

    def mask(start: tuple[int, int, int], size: tuple[int, int, int] = (6, 5, 4)) -> np.ndarray:
        volume = np.zeros((20, 16, 12), bool)
        volume[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
        return volume

    return mask
