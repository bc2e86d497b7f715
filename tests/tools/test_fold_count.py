"""How many folds a data set makes is asked before its first training."""

from __future__ import annotations

import json
from pathlib import Path

from common.phantoms import WRITERS
from tools.fold_count import fold_count
from tools.pipeline import BUNDLES


def test_the_folds_of_another_data_set_than_the_papers_are_counted_by_its_own_plan(tmp_path: Path) -> None:
    WRITERS["nnunet"](str(tmp_path / "data"), 4, 0)  # four channels: not the one of the U-Net's paper
    places = {"ckpt_dir": "models", "output_dir": "out", "cache_dir": "cache", "dataset_dir": "data"}
    config = BUNDLES / "unet_liver_tumor/configs/train.json"
    fold_count(str(config), tmp_path / "answer.json", **{key: str(tmp_path / name) for key, name in places.items()})
    assert json.loads((tmp_path / "answer.json").read_text()) == {"folds": 4}  # of five that are asked for
    assert len(json.loads((tmp_path / "models/plan.json").read_text())["channels"]) == 4
