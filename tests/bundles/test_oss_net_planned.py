"""OSS-Net learns any data set by plan: any channels and structures, regions, ignored voxels, CT and MR."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.bundles.test_oss_net import parsed

IGNORED = 9
SHAPE = (26, 30, 21)
FAST = {"epochs": 1, "val_interval": 1, "folds": 3, "batch_size": 2, "points": 256, "pictures": 1, "score_points": 1000}
SMALL = {"network_def#width": 16}


def balls(rng: np.random.Generator, count: int) -> np.ndarray:
    """A label map of balls with the values 1 to ``count``; a later one lies over an earlier one."""
    places = np.indices(SHAPE).reshape(3, -1).T
    label = np.zeros(SHAPE, np.uint8)
    for value in range(1, count + 1):
        center = np.array([6 + 7 * (value % 3), 7 + 8 * (value // 3), 10]) + rng.uniform(-1, 1, 3)
        label[(((places - center) ** 2).sum(1) < 4.5**2).reshape(SHAPE)] = value
    return label


def nested(rng: np.random.Generator, count: int) -> np.ndarray:
    """A label map of balls in each other with the values 1 (the outer) to ``count``."""
    places, label = np.indices(SHAPE).reshape(3, -1).T, np.zeros(SHAPE, np.uint8)
    for value in range(1, count + 1):
        distance = ((places - (13, 15, 10) - rng.uniform(-1, 1, 3)) ** 2).sum(1)
        label[(distance < (10 - 3 * value + 2) ** 2).reshape(SHAPE)] = value
    return label


def data_set(
    folder: Path,
    *,
    channels: int,
    labels: dict[str, Any],
    regions: bool = False,
    ignore: bool = False,
    ct: bool = False,
) -> Path:
    """Three cases as a raw data set of nnU-Net; every structure brighter than the one before."""
    rng = np.random.default_rng(0)
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for n in range(3):
        label = (nested if regions else balls)(rng, len(labels))
        stored = label.copy()
        if ignore:
            stored[:, :, -4:] = IGNORED
        nib.save(nib.Nifti1Image(stored, np.diag([1, 1, 1.5, 1])), folder / f"labelsTr/c{n}.nii.gz")
        for channel in range(channels):
            image = rng.normal(40.0 + 20 * label * (channel + 1), 8).astype(np.float32)
            if ct:
                image[:3] = -1000
            nib.save(nib.Nifti1Image(image, np.diag([1, 1, 1.5, 1])), folder / f"imagesTr/c{n}_{channel:04d}.nii.gz")
    names = ["CT"] if ct else ["T1w", "FLAIR", "T2w", "ADC"][:channels]
    listing = {
        "channel_names": {str(n): name for n, name in enumerate(names)},
        "labels": {"background": 0, **labels, **({"ignore": IGNORED} if ignore else {})},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    if regions:
        listing["regions_class_order"] = list(range(1, len(labels) + 1))
    (folder / "dataset.json").write_text(json.dumps(listing))
    return folder


def values_of(count: int) -> dict[str, int]:
    return {f"part {n}": n for n in range(1, count + 1)}


REGIONS = {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
CASES = {
    "one structure in one channel": (1, values_of(1), {}),
    "three classes in four channels": (4, values_of(3), {}),
    "seven classes in two channels": (2, values_of(7), {"ignore": True}),
    "regions in four channels": (4, REGIONS, {"regions": True}),
    "regions and ignored voxels": (1, REGIONS, {"regions": True, "ignore": True}),
    "classes in a CT": (1, values_of(4), {"ct": True}),
}
QUICK = ("seven classes in two channels", "regions and ignored voxels", "classes in a CT")


@pytest.mark.parametrize(
    ("channels", "labels", "options"),
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, case in CASES.items()],
)
def test_a_data_set_is_planned_trained_evaluated_and_predicted_with_its_names(
    channels: int, labels: dict[str, Any], options: dict[str, bool], tmp_path: Path
) -> None:
    data = data_set(tmp_path / "data", channels=channels, labels=labels, **options)
    paths = {"ckpt_dir": str(tmp_path / "models"), "cache_dir": str(tmp_path / "cache")}
    paths |= {"dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
    plan = parsed("train.json", **paths, folds=3).get_parsed_content("planned")
    assert list(plan["structures"]) == list(labels) and len(plan["channels"]) == channels
    assert plan["output"] == ("sigmoid" if len(labels) == 1 or "regions" in options else "softmax")
    assert (plan["window"] is not None) == ("ct" in options)
    assert plan["ignore"] == (IGNORED if "ignore" in options else None)
    parsed("train.json", **paths, **FAST, **SMALL).get_parsed_content("train#trainer").run()

    config = parsed("train.json", "evaluate.json", **paths, **FAST, **SMALL)
    config.get_parsed_content("validate#evaluator").run()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
    report = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(report["summary"]) == set(labels) <= set(report["point_set_overlap"])
    with (tmp_path / "out/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        stored = np.asarray(nib.load(data / f"labelsTr/{row['case']}.nii.gz").dataobj)
        voxels = np.isin(stored, labels[row["structure"]]).sum()
        assert float(row["volume_reference_mm3"]) == pytest.approx(1.5 * voxels, rel=1e-4)

    images = tmp_path / "scans"
    images.mkdir()
    for file in (data / "imagesTr").glob("c0_*"):
        (images / file.name).write_bytes(file.read_bytes())
    config = parsed("inference.json", **{**paths, "dataset_dir": str(images)}, pictures=0, **SMALL)
    config.get_parsed_content("evaluator").run()
    (answer,) = (tmp_path / "out").glob("*_seg.nii.gz")
    found = np.asarray(nib.load(answer).dataobj)
    assert found.shape == SHAPE and found.dtype == np.uint8 and set(np.unique(found)) <= set(plan["label_values"])


def test_a_network_is_built_after_the_plan_from_any_folder(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", channels=3, labels=values_of(2))
    models = str(tmp_path / "models")
    parsed("train.json", dataset_dir=str(data), ckpt_dir=models).get_parsed_content("planned")
    built = [
        parsed(name, ckpt_dir=models).get_parsed_content("network_def") for name in ("train.json", "inference.json")
    ]
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in built]
    assert shapes[0] == shapes[1]
    assert (built[0].in_channels, built[0].out_channels) == (3, 3)


@pytest.mark.slow
def test_several_structures_are_learned(tmp_path: Path) -> None:
    """Three balls of different brightness, after some hundred steps."""
    data = data_set(tmp_path / "data", channels=1, labels=values_of(3))
    paths = {"ckpt_dir": str(tmp_path / "models"), "cache_dir": str(tmp_path / "cache")}
    paths |= {"dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
    parsed("train.json", **paths, folds=3).get_parsed_content("planned")
    settings = {**FAST, "epochs": 300, "val_interval": 300, "learning_rate": 3e-3, "points": 1024}
    config = parsed("train.json", **paths, **settings)
    config.get_parsed_content("train#trainer").run()
    assert config.get_parsed_content("validate#evaluator").state.metrics["val_mean_dice_network_grid"] > 0.7


def test_ignored_voxels_change_neither_validation_nor_report(tmp_path: Path) -> None:
    """An answer that is right but where nobody labeled is right."""
    data = data_set(tmp_path / "data", channels=1, labels=values_of(2), ignore=True)
    paths = {"ckpt_dir": str(tmp_path / "models"), "cache_dir": str(tmp_path / "cache")}
    paths |= {"dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
    parsed("train.json", **paths, folds=3).get_parsed_content("planned")
    config = parsed("train.json", **paths, **FAST, **SMALL)
    item = config.get_parsed_content("validate#dataset")[0]
    known = item["label"][0] != 255
    logits = F.one_hot(torch.as_tensor(item["label"]).argmax(dim=0) * known, 3).movedim(-1, 0).float()
    logits[2, ~known] = 9.0
    masks = config.get_parsed_content("validate#postprocessing")({"pred": logits, "label": item["label"]})
    assert torch.equal(masks["pred"], masks["label"]) and masks["label"].shape[0] == 2 and not known.all()
