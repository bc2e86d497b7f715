"""A cohort of four-channel cases: evaluated by region, predicted with BraTS's label values, drawn and survived."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Activationsd, Compose, MapLabelValued

from common.datasets import brats2020_datalist, inference_cases
from common.engines import CohortDataset, FaultTolerantEvaluator
from common.handlers import CaseReport, FailureLog, PictureWriter
from common.handlers.pictures import CasePictures
from common.transforms import LabelsOnOriginalGridd, SaveImageAsPredictiond, load_on_grid

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
REGIONS = {"whole_tumor": [1, 2, 4], "tumor_core": [1, 4], "enhancing_tumor": 4}
VALUES = (0, 1, 2, 4)


class FlairIsTheAnswer(torch.nn.Module):
    """Logits of classes 0 to 3 from the last channel, whose values are the labels 0, 1, 2 and 4."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * torch.cat([(x[:, -1:] == value).float() for value in VALUES], dim=1)


def tumor(*, enhancing: bool) -> np.ndarray:
    """Boxes in boxes: edema (1000 voxels with all in it), core (216) and enhancing part (27)."""
    labels = np.zeros((16, 14, 12), np.uint8)
    labels[2:12, 2:12, 1:11] = 2
    labels[3:9, 3:9, 2:8] = 1
    labels[4:7, 4:7, 3:6] = 4 if enhancing else 1
    return labels


def write(root: Path, case: str, predicted: np.ndarray, true: np.ndarray) -> None:
    (root / case).mkdir(parents=True)
    noise = np.random.default_rng(0).normal(size=predicted.shape).astype(np.float32)
    for kind, array in {"flair": predicted, "t1": noise, "t1ce": noise, "t2": noise, "seg": true}.items():
        nib.save(nib.Nifti1Image(array, AFFINE), root / case / f"{case}_{kind}.nii.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases, the second of which has no enhancing part, though 27 voxels are predicted to be."""
    write(tmp_path / "in", "a", tumor(enhancing=True), tumor(enhancing=True))
    write(tmp_path / "in", "b", tumor(enhancing=True), tumor(enhancing=False))
    return tmp_path / "in"


def run(cases: list[dict], output_dir: Path, *handlers: object) -> dict[str, dict]:
    """Predict cases; what failed, by case."""
    failures = FailureLog(output_dir)
    transforms = [
        Activationsd("pred", softmax=True),
        LabelsOnOriginalGridd("pred"),
        MapLabelValued("pred", orig_labels=[3], target_labels=[4], dtype=np.uint8),
        SaveImageAsPredictiond("pred", output_dir),
    ]
    FaultTolerantEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CohortDataset(cases, load_on_grid(["image"], channel_order=[1, 3, 2, 0])), 1),
        network=FlairIsTheAnswer(),
        postprocessing=Compose(transforms),
        val_handlers=list(handlers),
        failures=failures,
    ).run()
    return {row["case"]: row for row in json.loads((output_dir / "failures.json").read_text())}


def evaluate(folder: Path, output_dir: Path) -> dict:
    report = CaseReport(output_dir, labels=REGIONS, label_values=[0, 1, 2, 4], may_be_absent=["enhancing_tumor"])
    assert run(brats2020_datalist(folder), output_dir, report) == {}
    return json.loads((output_dir / "metrics.json").read_text())


def test_regions_are_unions_of_labels(folder: Path, tmp_path: Path) -> None:
    rows = {(r["case"], r["structure"]): r for r in evaluate(folder, tmp_path / "out")["cases"]}
    volumes = {region: rows["a", region]["volume_reference_mm3"] for region in REGIONS}  # voxels of 2 mm³
    assert volumes == {"whole_tumor": 2000, "tumor_core": 432, "enhancing_tumor": 54}
    assert all(rows["a", region]["dice"] == 1 for region in REGIONS)


def test_a_case_without_enhancing_tumor_counts_apart(folder: Path, tmp_path: Path) -> None:
    report = evaluate(folder, tmp_path / "out")
    assert report["summary"]["whole_tumor"]["dice"]["n"] == 2
    assert report["summary"]["enhancing_tumor"]["dice"]["n"] == 1
    assert report["summary"]["enhancing_tumor"]["dice"]["mean"] == 1
    absent = report["absent"]["enhancing_tumor"]
    assert absent["n_absent"] == absent["n_false_positive"] == 1
    assert absent["dice_absent_counted"]["mean"] == 0.5


def test_voxels_that_nobody_labeled_count_in_no_volume_and_no_overlap(folder: Path, tmp_path: Path) -> None:
    """The enhancing tumor's value is taken for that of voxels without a label."""
    labels = {"whole_tumor": [1, 2, 4], "enhancing_tumor": 4}
    report = CaseReport(tmp_path / "out", labels=labels, label_values=[0, 1, 2], ignore=4)
    assert run(brats2020_datalist(folder), tmp_path / "out", report) == {}
    rows = json.loads((tmp_path / "out/metrics.json").read_text())["cases"]
    found = {r["structure"]: (r["volume_prediction_mm3"], r["volume_reference_mm3"]) for r in rows if r["case"] == "a"}
    assert found == {"whole_tumor": (2000 - 54, 2000 - 54), "enhancing_tumor": (0, 0)}


def test_predictions_have_brats_values_as_bytes_on_the_grid_of_the_files(folder: Path, tmp_path: Path) -> None:
    assert run(inference_cases(str(folder), tmp_path / "out"), tmp_path / "out") == {}
    prediction = nib.load(tmp_path / "out" / "a_seg.nii.gz")
    np.testing.assert_array_equal(prediction.dataobj, tumor(enhancing=True))
    assert prediction.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(prediction.affine, AFFINE)


def test_pictures_show_flair_whatever_order_the_network_takes(folder: Path, tmp_path: Path) -> None:
    class Shown(CasePictures):
        suffix = ".png"

        def write(self, view, path) -> None:
            self.image = view.image

    shown = Shown(tmp_path, max_cases=1, demonstration_only=False)
    overlays = PictureWriter(tmp_path / "out")
    assert run(brats2020_datalist(folder), tmp_path / "out", shown, overlays) == {}
    np.testing.assert_array_equal(shown.image, tumor(enhancing=True)[::-1, ::-1])  # stored as LPS, shown as RAS
    assert {path.name for path in (tmp_path / "out" / "pictures").iterdir()} == {"a.png", "b.png"}


def _missing(path: Path) -> None:
    path.unlink()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def _smaller(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((8, 7, 6), np.float32), AFFINE), path)


@pytest.mark.parametrize("damage", [_missing, _truncated, _smaller])
def test_a_case_with_a_bad_contrast_is_recorded_and_the_others_go_on(folder: Path, tmp_path: Path, damage) -> None:
    bad = folder / "a" / "a_t1ce.nii.gz"
    damage(bad)
    failures = run(inference_cases(str(folder), tmp_path / "out"), tmp_path / "out")
    assert list(failures) == ["a"] and bad.name in failures["a"]["reason"]
    assert [path.name for path in (tmp_path / "out").glob("*_seg.nii.gz")] == ["b_seg.nii.gz"]


def test_real_cases_come_back_whole(shared_data: Path, tmp_path: Path) -> None:
    [item] = [c for c in brats2020_datalist(shared_data / "brats2020") if c["case"].endswith("001")]
    item["image"] = [item["label"], *item["image"][1:]]  # a network that knows the answer
    report = CaseReport(tmp_path, labels=REGIONS, label_values=[0, 1, 2, 4], may_be_absent=["enhancing_tumor"])
    assert run([item], tmp_path, report) == {}
    reference = nib.load(item["label"])
    prediction = nib.load(tmp_path / "BraTS20_Training_001_seg.nii.gz")
    np.testing.assert_array_equal(prediction.dataobj, reference.dataobj)
    np.testing.assert_array_equal(prediction.affine, reference.affine)
