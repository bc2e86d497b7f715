"""A training in a given time, to the end, and its repetition by its plan on the same cases in another layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

MINUTES = 1.5
SMALL = ["--network_def#channels=[4,8,16]", "--num_workers=0", "--amp=False", "--device=cpu", "--folds=3"]
LABELS = {"background": 0, "anterior": 1, "posterior": 2}


def write(folder: Path, images: str, labels: str, case: str, listing: dict) -> Path:
    """Six cases, a bright ellipsoid each, in the layout that the names and the listing make."""
    rng, pairs = np.random.default_rng(0), []
    z, y, x = np.ogrid[-1:1:20j, -1:1:24j, -1:1:16j]
    for k in range(6):
        shifted = (z - rng.uniform(-0.2, 0.2)) ** 2 + y**2 + x**2
        label = np.where(shifted < 0.5, np.where(y > 0, 1, 2), 0).astype(np.uint8)
        image = (100 * (label > 0) + rng.normal(0, 20, label.shape)).astype(np.float32)
        for array, name in (
            (image, f"imagesTr/{case.format(k)}{images}"),
            (label, f"labelsTr/{case.format(k)}{labels}"),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 1.0, 1.0, 1.0])), folder / name)
        pairs.append({"image": f"imagesTr/{case.format(k)}.nii.gz", "label": f"labelsTr/{case.format(k)}.nii.gz"})
    (folder / "dataset.json").write_text(json.dumps(listing | ({"training": pairs} if images == labels else {})))
    return folder


@pytest.fixture
def decathlon(tmp_path: Path) -> Path:
    listing = {"modality": {"0": "MRI"}, "labels": {str(value): name for name, value in LABELS.items()}, "test": []}
    return write(tmp_path / "Task_x", ".nii.gz", ".nii.gz", "case_{}", listing)


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    listing = {"channel_names": {"0": "MRI"}, "labels": LABELS, "numTraining": 6, "file_ending": ".nii.gz"}
    return write(tmp_path / "Dataset001_x", "_0000.nii.gz", ".nii.gz", "case_{}", listing)


def train(data: Path, run: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tools.pipeline", "train", "--bundle=unet_liver_tumor", f"--dataset_dir={data}"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*command, f"--run={run}", *SMALL, *words], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_what_was_trained_in_a_time_is_repeated_exactly_by_its_plan_on_another_layout(
    decathlon: Path, nnunet: Path, tmp_path: Path
) -> None:
    start = time.monotonic()
    done = train(decathlon, tmp_path / "first", f"--minutes={MINUTES}")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 60 * MINUTES + 60
    assert "Timing train for 1.5 minutes" in done.stdout and "anterior" in done.stdout
    plan = json.loads((tmp_path / "first/models/plan.json").read_text())
    assert plan["timing"]["epochs"]["minutes"] == MINUTES
    assert not list((tmp_path / "first").glob(".timing*")) and not (tmp_path / "first/predictions").exists()
    newest = f"model_epoch={plan['epochs']}.pt"
    assert (tmp_path / "first/models" / newest).is_file()

    (tmp_path / "second/models").mkdir(parents=True)
    (tmp_path / "second/models/plan.json").write_text(json.dumps(plan))
    done = train(nnunet, tmp_path / "second")
    assert done.returncode == 0, done.stderr
    first, second = (
        torch.load(tmp_path / run / "models" / newest, weights_only=True)["network"] for run in ("first", "second")
    )
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
