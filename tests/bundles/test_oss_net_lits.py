"""What is particular to OSS-Net's bundle with its LiTS overlay: a cube that volumes are resized to, and livers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.datasets.layouts.registry import LAYOUTS
from tests.bundles.test_oss_net import PLAN, TINY, parsed


@pytest.mark.slow
def test_livers_are_trained_evaluated_and_reported_with_the_lits_overlay(
    phantoms_of: Callable[[str], Path], tmp_path: Path
) -> None:
    size = [32, 32, 32]
    paths = {"dataset_dir": str(phantoms_of("lits")), "ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path)}
    settings = {"working_size": size, "epochs": 1, "val_interval": 1, "folds": 3, "points": 64, "batch_size": 2}
    settings |= {"cache_dir": str(tmp_path / "cache"), **TINY, "depth": 4}
    config = parsed("train.json", "lits.json", **paths, **settings)
    keep = [type(t).__name__ for t in config.get_parsed_content("cached").transforms]
    assert keep == ["BorderMapd", "Resized", "CastToTyped"]
    config.get_parsed_content("train#trainer").run()
    first = config.get_parsed_content("train#dataset")[0]
    assert first["image"].shape == (1, *size) and first["box"].tolist() == [[0, 0, 0], size]

    config = parsed("train.json", "lits.json", "evaluate.json", **paths, **settings)
    config.get_parsed_content("validate#evaluator").run()
    assert json.loads((tmp_path / "failures.json").read_text()) == []
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert set(report["summary"]) == {"liver"}
    assert (report["point_set_overlap"]["points"], report["point_set_overlap"]["border_fraction"]) == (2**14, 0.4)
    labels = {c["case"]: nib.load(c["label"]) for c in LAYOUTS["lits"](phantoms_of("lits")).cases}
    for row in report["cases"]:
        label = labels[row["case"]]
        volume = np.count_nonzero(np.asarray(label.dataobj)) * np.prod(label.header.get_zooms())
        assert row["volume_reference_mm3"] == pytest.approx(volume, rel=1e-4)  # tumors belong to the liver


def test_lits_volumes_are_resized_for_training_as_for_inference(
    phantoms_of: Callable[[str], Path], tmp_path: Path
) -> None:
    case = LAYOUTS["lits"](phantoms_of("lits")).cases[0]
    plan = {**PLAN, "placement": "resize", "channel_order": [0]}
    config = parsed("train.json", "lits.json", recorded=plan, working_size=[32, 32, 32], points=64, **TINY)
    config.update({"flip#weights": [1.0, 0.0, 0.0, 0.0]})
    kept = config.get_parsed_content("cached")(config.get_parsed_content("prepare")(dict(case)))
    assert [kept[key].dtype for key in ("image", "label", "border")] == [torch.float16, torch.uint8, torch.uint8]
    step = config.get_parsed_content("train#preprocessing")(dict(case))
    image = config.get_parsed_content("validate#preprocessing")(dict(case))["image"].as_tensor()
    expected = F.interpolate(image[None], (32, 32, 32), mode="trilinear")[0]
    torch.testing.assert_close(step["image"].float(), expected, atol=5e-3, rtol=0)


def test_lits_configures_the_same_network_for_training_and_inference() -> None:
    merged = [parsed(name, "lits.json")["network_def"] for name in ("train.json", "inference.json")]
    assert merged[0] == merged[1]
    assert (merged[0]["in_channels"], merged[0]["channels"]) == (1, [8, 16, 32, 64, 128])
