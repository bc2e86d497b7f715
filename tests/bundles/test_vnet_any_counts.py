"""V-Net on any channels and structures: planned, trained, evaluated and predicted, with the data set's own names."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

BUNDLE = Path(__file__).parents[2] / "bundles/vnet_left_atrium"
SMALL = {"spacing": [2.0, 2.0, 2.0], "patch": [16, 16, 32], "roi_size": [16, 16, 32], "batch_size": 2}
COARSE = {"spacing": [2.0, 2.0, 2.0], "coarse_spacing": [4.0, 4.0, 4.0], "coarse_patch": [16, 16, 32], "batch_size": 2}
FULL = {"spacing": [2.0, 2.0, 2.0], "coarse_spacing": [4.0, 4.0, 4.0], "buffer": [2, 2, 2]}
SIDES = (36, 40, 44)
TUMOR = {"whole": [1, 2, 3], "core": [1, 3], "inner": 3}
SEVEN = {f"organ {n}": 2 * n for n in range(1, 8)}


def nnunet(folder: Path, channels: list[str], structures: dict[str, Any], *, ignore: int | None = None) -> Path:
    """Five cases: a bar for each value, side by side, an unlabeled slab, and noise in all channels."""
    values = sorted({v for own in structures.values() for v in (own if isinstance(own, list) else [own])})
    hounsfield = channels == ["CT"]
    for n in range(5):
        rng = np.random.default_rng(n)
        label = np.zeros(SIDES, np.uint8)
        for k, value in enumerate(values):
            label[6:26, 8 + 3 * k : 11 + 3 * k, 10:30] = value
        image = [rng.normal(100, 20, SIDES) + 300 * (label == values[k % len(values)]) for k in range(len(channels))]
        if ignore is not None:
            label[:, :, 34:] = ignore
        for kind, suffix, arrays in (("imagesTr", "_{:04d}", image), ("labelsTr", "", [label])):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for k, array in enumerate(arrays):
                dtype = np.uint8 if kind == "labelsTr" else np.int16 if hounsfield else np.float32
                file = nib.Nifti1Image((array - 400 * (hounsfield and kind == "imagesTr")).astype(dtype), np.eye(4))
                nib.save(file, folder / kind / f"case_{n}{suffix.format(k)}.nii.gz")
    labels = {"background": 0, **structures, **({} if ignore is None else {"ignore": ignore})}
    listing = {"channel_names": dict(enumerate(channels)), "labels": labels, "numTraining": 5, "file_ending": ".nii.gz"}
    if any(isinstance(own, list) for own in structures.values()):
        listing["regions_class_order"] = [2, 1, 3]
    (folder / "dataset.json").write_text(json.dumps(listing))
    return folder


@pytest.mark.parametrize(
    ("channels", "structures", "ignore", "overlays"),
    [
        (["CT"], {"organ": 1}, 5, []),
        (["T1", "FLAIR"], SEVEN, None, ["hybrid.json"]),
        (["T1", "T1ce", "T2", "FLAIR"], TUMOR, 4, ["hybrid.json"]),
        pytest.param(["T1", "T2", "PD"], {"a": 1, "b": 2}, None, ["focal.json"], marks=pytest.mark.slow),
        pytest.param(["CT"], SEVEN, 15, ["elastic.json"], marks=pytest.mark.slow),
    ],
    ids=["ct", "seven", "regions", "focal", "organs"],
)
def test_channels_and_structures_are_learned_and_named(
    channels: list[str],
    structures: dict[str, Any],
    ignore: int | None,
    overlays: list[str],
    run_bundle: Callable,
    tmp_path: Path,
) -> None:
    data, models = nnunet(tmp_path / "data", channels, structures, ignore=ignore), tmp_path / "models"
    common = {"dataset_dir": data, "ckpt_dir": models, "device": "cpu", "num_workers": 0, "amp": False}
    short = {"epochs": 1, "val_interval": 1, "cache_dir": tmp_path / "cache"}
    located = ignore is not None  # with a locator, or without
    crop = {"crop": "locator" if located else "none"}
    if located:
        done = run_bundle(
            BUNDLE, "training", "train_locator.json", **common, output_dir=tmp_path / "t", **short, **COARSE, **crop
        )
        assert done.returncode == 0, done.stderr
    settings = {**SMALL, **(FULL if located else {}), **crop}
    done = run_bundle(
        BUNDLE, "training", "train.json", *overlays, **common, output_dir=tmp_path / "train", **short, **settings
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads((models / "plan.json").read_text())
    regions = structures is TUMOR
    assert (plan["channels"], plan["structures"], plan["ignore"]) == (channels, structures, ignore)
    assert plan["output"] == ("sigmoid" if regions or len(structures) == 1 else "softmax")
    assert (plan["window"] is None) == (channels != ["CT"]) and plan["crop"] == crop["crop"]

    done = run_bundle(
        BUNDLE, "run", "train.json", "evaluate.json", **common, output_dir=tmp_path / "evaluation", pictures=1
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "evaluation/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["structure"] for row in rows] == list(structures)
    for row in rows:  # a bar is 20 x 3 x 20 voxels of 1 mm3
        own = structures[row["structure"]]
        assert float(row["volume_reference_mm3"]) == 1200 * (len(own) if isinstance(own, list) else 1)
    assert len(list((tmp_path / "evaluation/pictures").glob("*.png"))) == 1

    out = tmp_path / "predictions"
    done = run_bundle(BUNDLE, "run", "inference.json", **{**common, "dataset_dir": data / "imagesTr"}, output_dir=out)
    assert done.returncode == 0, done.stderr
    answers = sorted(out.glob("*_seg.nii.gz"))
    assert len(answers) == 5
    for answer in answers:
        assert set(np.unique(np.asarray(nib.load(answer).dataobj))) <= set(plan["label_values"])
