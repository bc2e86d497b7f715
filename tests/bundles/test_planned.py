"""A data set that is not the paper's is planned, trained on, evaluated and predicted, with its own structures."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL = {  # what makes a network small enough for a test
    "unet_liver_tumor": {
        "network_def#channels": [4, 8, 16],
        "spacing": [8.0, 8.0, 8.0],
        "patch": [16, 16, 16],
        "roi_size": [32, 32, 32],
        "samples_per_case": 1,
        "queue_size": 2,
    },
    "efficient_seg_net": {
        "network_def#channels": [4, 8, 8, 8],
        "coarse#network#channels": [4, 8, 8, 8],
        "grid": [64, 64, 64],
        "coarse_grid": [32, 32, 32],
        "lesion_repeats": 1,
    },
    "oss_net": {
        "network_def#channels": [4, 8, 8],
        "network_def#low_shape": [2, 2, 2],
        "network_def#width": 16,
        "working_size": [32, 32, 32],
        "points": 64,
        "max_points": 4096,
    },
    "vnet_left_atrium": {"spacing": [6.0, 6.0, 6.0], "crop": "none", "patch": [32, 32, 32], "roi_size": [32, 32, 32]},
    "vox2vox": {"network_def#width": 4, "spacing": [8.0, 8.0, 8.0], "patch": [32, 32, 32]},
}


@pytest.mark.parametrize(
    ("name", "layout", "channels", "structures"),
    [
        ("unet_liver_tumor", "nnunet", 4, 3),
        pytest.param("efficient_seg_net", "nnunet", 4, 3, marks=pytest.mark.slow),
        pytest.param("vox2vox", "nnunet", 4, 3, marks=pytest.mark.slow),
        pytest.param("oss_net", "decathlon", 1, 1, marks=pytest.mark.slow),
        pytest.param("vnet_left_atrium", "nnunet", 4, 3, marks=pytest.mark.slow),
    ],
)
def test_the_channels_and_structures_of_another_data_set_are_learned_and_named(
    name: str,
    layout: str,
    channels: int,
    structures: int,
    phantoms_of: Callable[[str], Path],
    run_bundle: Callable,
    tmp_path: Path,
) -> None:
    data, bundle, models = tmp_path / "data", BUNDLES / name, tmp_path / "models"
    shutil.copytree(phantoms_of(layout), data)
    listing = (data / "dataset.json").read_text()
    (data / "dataset.json").write_text(listing.replace("left atrium", "ventricle"))  # not the paper's structure
    common = {"dataset_dir": data, "ckpt_dir": models, "device": "cpu", "num_workers": 0, "amp": False}
    short = {"epochs": 1, "val_interval": 1, "folds": 3, "batch_size": 1, "cache_dir": tmp_path / "cache"}
    for stage in sorted(path.name for path in (bundle / "configs").glob("train*.json"))[
        ::-1
    ]:  # train_coarse.json first
        ids = json.loads((bundle / "configs" / stage).read_text())
        small = {key: value for key, value in SMALL[name].items() if key.split("#")[0] in ids}
        done = run_bundle(bundle, "training", stage, **common, output_dir=tmp_path / stage, **short, **small)
        assert done.returncode == 0, done.stderr
    plan = json.loads((models / "plan.json").read_text())
    assert len(plan["channels"]) == channels and plan["modality"] == "MR" and plan["reasons"]
    assert len(plan["label_values"]) == structures + 1
    assert plan["overrides"] and {"cases", "network"} <= set(plan["recorded"])

    networks = {key: value for key, value in SMALL[name].items() if "#" in key}
    done = run_bundle(
        bundle,
        "run",
        "train.json",
        "evaluate.json",
        **common,
        output_dir=tmp_path / "evaluation",
        pictures=0,
        **networks,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "evaluation/metrics.csv").open(newline="") as file:
        assert {row["structure"] for row in csv.DictReader(file)} == set(plan["structures"])

    out = tmp_path / "predictions"
    done = run_bundle(bundle, "run", "inference.json", **common, output_dir=out, **networks)
    assert done.returncode == 0, done.stderr
    answers = sorted((tmp_path / "predictions").glob("*_seg.nii.gz"))
    assert answers
    for answer in answers:
        assert set(np.unique(np.asarray(nib.load(answer).dataobj))) <= set(plan["label_values"])
