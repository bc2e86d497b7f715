"""What Vox2Vox's trainings, evaluations and predictions leave, in its variants and on real patients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from common.datasets.layouts.registry import LAYOUTS
from tests.bundles.test_vox2vox import BUNDLE, CONFIGS, parsed, stored
from tools.overlays import for_inference

TINY = {"network_def#width": 2, "patch": [48, 48, 48], "batch_size": 2, "epochs": 1, "val_interval": 1, "folds": 3}
REGIONS = {"whole_tumor": (1, 2, 4), "tumor_core": (1, 4), "enhancing_tumor": (4,)}
CASE = "BraTS20_Training_001"

of_this_bundle = pytest.mark.parametrize("bundle", [BUNDLE], indirect=True, ids=lambda path: path.name)


def places(folder: Path, data: Path, output: str) -> dict[str, str]:
    paths = {"dataset_dir": data, "ckpt_dir": folder / "models", "cache_dir": folder / "cache"}
    return {key: str(path) for key, path in {**paths, "output_dir": folder / output}.items()}


def go(folder: Path, data: Path, overlays: tuple[str, ...], **settings: Any) -> dict[str, Any]:
    """Train, evaluate and predict with overlays; what ``metrics.json`` says."""
    training = parsed("train.json", *overlays, **places(folder, data, "train"))
    training.update({**TINY, **settings})
    training.get_parsed_content("run")
    evaluation = parsed("train.json", *overlays, "evaluate.json", **places(folder, data, "evaluation"), **settings)
    prediction = parsed("inference.json", **{**for_inference(CONFIGS, overlays), **places(folder, data, "predictions")})
    for config, evaluator in ((evaluation, "validate#evaluator"), (prediction, "evaluator")):
        config.update({"network_def#width": TINY["network_def#width"]})
        config.get_parsed_content(evaluator).run()
    for name in ("evaluation", "predictions"):
        assert json.loads((folder / name / "failures.json").read_text()) == []
    return json.loads((folder / "evaluation/metrics.json").read_text())


def volume(path: str, values: tuple[int, ...]) -> float:
    """Of a region, in mm3."""
    return np.isin(stored(path), values).sum() * np.prod(nib.load(path).header.get_zooms(), dtype=float)


@of_this_bundle
def test_a_checkpoint_holds_both_networks_both_optimizers_and_the_accuracy_of_every_epoch(
    bundle: Path, trained: Path
) -> None:
    objects = torch.load(trained / "models/model_epoch=1.pt", weights_only=True)["objects"]
    assert {"optimizer", "discriminator_optimizer", "adversary", "learning_curve"} <= set(objects)
    assert "block1.conv.weight" in objects["adversary"]["network"]
    assert 0 <= objects["learning_curve"]["fractions"]["discriminator_accuracy"][1] <= 1


@of_this_bundle
def test_each_region_is_measured_on_the_original_grid_and_an_absent_one_is_counted_apart(
    bundle: Path, sample_data: Path, trained: Path, tmp_path: Path
) -> None:
    settings = {"output_dir": str(tmp_path), "subset": "all", "trained_on": [], "pictures": 0}
    paths = {"dataset_dir": str(sample_data), "ckpt_dir": str(trained / "models")}
    parsed("train.json", "sample.json", "evaluate.json", **settings, **paths).get_parsed_content(
        "validate#evaluator"
    ).run()
    report = json.loads((tmp_path / "metrics.json").read_text())
    labels = {case["case"]: case["label"] for case in LAYOUTS["brats2020"](sample_data).cases}
    assert len(report["cases"]) == 3 * len(labels)
    for row in report["cases"]:
        expected = volume(labels[row["case"]], REGIONS[row["structure"]])
        assert row["volume_reference_mm3"] == pytest.approx(expected, rel=1e-4)
    without = sum(volume(label, (4,)) == 0 for label in labels.values())
    assert without > 0
    assert report["absent"]["enhancing_tumor"]["n_absent"] == without
    assert report["summary"]["enhancing_tumor"]["dice"]["n"] == len(labels) - without
    assert report["absent"]["enhancing_tumor"]["dice_absent_counted"]["n"] == len(labels)


def test_without_its_adversary_the_generator_learns_by_dice_alone(
    phantoms_of: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = places(tmp_path, phantoms_of("brats2020"), "train")
    config = parsed("train.json", "generator_only.json", **paths, **TINY)
    config.get_parsed_content("run")
    trainer = config.get_parsed_content("train#trainer")
    assert trainer.adversary is None
    assert trainer.state.metrics["loss"] == pytest.approx(5 * trainer.state.metrics["segmentation_loss"], rel=1e-4)
    state = torch.load(tmp_path / "models/model_epoch=1.pt", weights_only=True)
    assert set(state["objects"]) == {"optimizer", "lr_scheduler", "learning_curve"}


@pytest.mark.parametrize(
    "overlays",
    [
        pytest.param((), id="two maps", marks=pytest.mark.slow),
        pytest.param(("pytorch.json",), id="the article's one map"),
    ],
)
def test_one_structure_in_one_channel_is_trained_evaluated_and_predicted(
    overlays: tuple[str, ...], phantoms_of: Callable[[str], Path], tmp_path: Path
) -> None:
    data = phantoms_of("decathlon")
    report = go(tmp_path, data, ("one_channel_mr.json", *overlays), spacing=[5.0, 5.0, 5.0])
    (structure,) = report["summary"]
    labels = {case["case"]: case["label"] for case in LAYOUTS["decathlon"](data).cases}
    assert structure == ("structure" if overlays else "left_atrium")
    for row in report["cases"]:
        assert row["volume_reference_mm3"] == pytest.approx(volume(labels[row["case"]], (1,)), rel=1e-4)
    for case, label in labels.items():
        mask = nib.load(tmp_path / f"predictions/{case}_seg.nii.gz")
        assert mask.shape == nib.load(label).shape
        assert set(np.unique(mask.dataobj)) <= {0, 1}


def test_a_real_patient_goes_through_training_evaluation_by_region_and_inference(
    shared_data: Path, tmp_path: Path
) -> None:
    """230 x 239 x 55 voxels; trained on and measured on the same patient, as overfit.json has it."""
    data = tmp_path / "data"
    data.mkdir()
    (data / CASE).symlink_to(shared_data / "brats2020" / CASE)
    settings = {"batch_size": 1, "train#dataset#data": "$@split['train']", "subset": "all"}
    report = go(tmp_path, data, ("overfit.json",), **settings)
    files = LAYOUTS["brats2020"](data).cases[0]
    found = {row["structure"]: row["volume_reference_mm3"] for row in report["cases"]}
    expected = {name: volume(files["label"], values) for name, values in REGIONS.items()}
    assert found == pytest.approx(expected, rel=1e-4)
    mask, image = nib.load(tmp_path / f"predictions/{CASE}_seg.nii.gz"), nib.load(files["image"][0])
    assert mask.shape == image.shape == (230, 239, 55)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    assert set(np.unique(mask.dataobj)) <= {0, 1, 2, 4}
    assert (tmp_path / f"evaluation/pictures/{CASE}.png").is_file()
