"""What a training's preprocessing kept is found again by the next run, whatever was called before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from monai.bundle import ConfigParser

from common.checkpoints import save_weights
from common.datasets import CachedDataset


def parsed(bundle: Path, files: list[str], data: Path, folder: Path) -> ConfigParser:
    """A training's configuration, with all objects new, as in a new process."""
    config = ConfigParser()
    config.read_config([str(bundle / "configs" / name) for name in files])
    knobs = {"dataset_dir": data, "ckpt_dir": folder, "cache_dir": folder / "cache", "output_dir": folder / "output"}
    for name, value in knobs.items():
        config[name] = str(value)
    config["num_workers"] = 0
    if "crop" in config.get() and "locator" in config.get():
        config["crop"] = "locator"
    return config


def datasets(config: ConfigParser) -> list[CachedDataset]:
    return [config.get_parsed_content(f"{part}#dataset") for part in ("train", "validate")]


def test_every_item_of_every_stage_is_kept_once(bundle: Path, sample_data: Path, tmp_path: Path) -> None:
    stages = sorted(path.stem.removeprefix("train_") for path in bundle.glob("configs/train_*.json"))
    for stage in [f"_{name}" for name in stages] + [""]:
        files = [f"train{stage}.json", f"sample{stage}.json"]
        folder = tmp_path / f"run{stage}"
        if "locator" in (config := parsed(bundle, files, sample_data, folder)).get():
            save_weights(config.get_parsed_content("network_def"), folder / "locator.pt")
        first = datasets(parsed(bundle, files, sample_data, folder))
        for dataset in first:
            for n in range(len(dataset)):
                dataset[n]
        kept = sorted(os.listdir(folder / "cache"))
        again = datasets(parsed(bundle, files, sample_data, folder))  # the plan is read: nothing was called before
        assert [d.transform_hash for d in again] == [d.transform_hash for d in first], files
        used = datasets(parsed(bundle, files, sample_data, folder))
        for dataset, old in zip(used, first, strict=True):
            new = CachedDataset(dataset.data, old.transform, None)  # transforms that have been called
            assert new.transform_hash == old.transform_hash, files
            for n in range(len(dataset)):
                dataset[n]
        assert sorted(os.listdir(folder / "cache")) == kept, files
        shutil.rmtree(folder)
