"""The left-atrium bundle as a user meets it: commands in its folder, on phantoms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nrrd
import numpy as np
import pytest

BUNDLE = Path(__file__).parents[2] / "bundles/vnet_left_atrium"
TINY = {"epochs": 2, "val_interval": 1, "repeats": 1, "num_workers": 0, "device": "cpu", "crop": "label"}


this_bundle = pytest.mark.parametrize("bundle", [BUNDLE], indirect=True, ids=lambda path: path.name)


def test_the_locator_is_the_same_network_wherever_it_is_trained_or_used() -> None:
    train, inference, locator = (
        json.loads((BUNDLE / "configs" / name).read_text())
        for name in ("train.json", "inference.json", "train_locator.json")
    )
    assert train["locator"]["network"] == inference["locator"]["network"] == locator["network_def"]
    assert train["locator"]["normalize"] == inference["locator"]["normalize"]
    assert train["locator"]["normalize"]["_target_"] + "d" == locator["normalize"]["_target_"]


@this_bundle
def test_training_leaves_a_model_the_planned_numbers_and_a_learning_curve(bundle: Path, trained: Path) -> None:
    plan = json.loads((trained / "models/plan.json").read_text())
    assert plan["crop"] == "locator"
    assert all(side % 16 == 0 for side in plan["crop_size"])
    assert plan["demonstration_only"] is True
    names = sorted(path.name for path in (trained / "models").iterdir())
    assert names == ["locator.pt", "locator_epoch=1.pt", "model.pt", "model_epoch=1.pt", "plan.json"]
    assert (trained / "train/learning_curve.png").stat().st_size > 0
    assert list((trained / "train").glob("events.out.tfevents.*"))


@this_bundle
def test_evaluation_reports_every_validation_case_on_its_original_grid(
    bundle: Path, trained: Path, phantoms: Path, run_bundle, tmp_path: Path
) -> None:
    paths = {
        "ckpt_dir": trained / "models",
        "cache_dir": trained / "cache",
        "output_dir": tmp_path,
    }
    done = run_bundle(
        BUNDLE, "run", "train.json", "sample.json", "evaluate.json", dataset_dir=phantoms, device="cpu", **paths
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert len(report["cases"]) == 2  # six cases, fold 0 of 5
    for row in report["cases"]:
        label, _ = nrrd.read(str(phantoms / row["case"] / "laendo.nrrd"))
        assert row["volume_reference_mm3"] == pytest.approx((label > 0).sum() * 1.25 * 1.25 * 2.5, rel=1e-4)
        assert (tmp_path / "pictures" / f"{row['case']}.png").is_file()
    assert json.loads((tmp_path / "failures.json").read_text()) == []


@this_bundle
def test_inference_writes_each_mask_with_its_scans_geometry_and_survives_a_broken_file(
    bundle: Path, trained: Path, phantoms: Path, run_bundle, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    for case in ("phantom_000", "phantom_001"):
        (scans / case).mkdir(parents=True)
        shutil.copy(phantoms / case / "lgemri.nrrd", scans / case)
    (scans / "broken").mkdir()
    (scans / "broken/lgemri.nrrd").write_bytes((phantoms / "phantom_002/lgemri.nrrd").read_bytes()[:2000])
    out = tmp_path / "out"
    done = run_bundle(
        BUNDLE,
        "run",
        "inference.json",
        "sample.json",
        dataset_dir=scans,
        ckpt_dir=trained / "models",
        output_dir=out,
        device="cpu",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert [failure["case"] for failure in json.loads((out / "failures.json").read_text())] == ["broken"]
    assert sorted(path.name for path in out.glob("*.nrrd")) == ["phantom_000_seg.nrrd", "phantom_001_seg.nrrd"]
    for case in ("phantom_000", "phantom_001"):
        mask, written = nrrd.read(str(out / f"{case}_seg.nrrd"))
        scan, source = nrrd.read(str(scans / case / "lgemri.nrrd"))
        assert mask.shape == scan.shape
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        np.testing.assert_allclose(written["space directions"], source["space directions"], atol=1e-5)
        np.testing.assert_allclose(written["space origin"], source["space origin"], atol=1e-4)


def test_a_locator_is_not_trained_where_the_segmenter_will_not_use_it(
    phantoms: Path, run_bundle, tmp_path: Path
) -> None:
    paths = {"ckpt_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "train"}
    done = run_bundle(
        BUNDLE, "training", "train_locator.json", "sample_locator.json", dataset_dir=phantoms, **paths, **TINY
    )
    assert done.returncode == 0, done.stderr
    assert "no locator is needed" in done.stdout
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["plan.json"]


@pytest.mark.parametrize(("knob", "value"), [("resume", "true"), ("amp", "yes"), ("crop", "atrium")])
def test_a_knob_with_a_wrong_value_is_an_error(
    knob: str, value: str, phantoms: Path, run_bundle, tmp_path: Path
) -> None:
    paths = {"ckpt_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "train"}
    settings = {**TINY, **paths, knob: value}
    done = run_bundle(BUNDLE, "training", "train.json", "sample.json", dataset_dir=phantoms, **settings)
    assert done.returncode != 0
    assert f"{knob} must be" in done.stderr
