"""Every bundle predicts with the mean of several trainings, merging ensemble.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import LoadImage

from common.datasets import inference_datalist
from tools.overlays import for_inference


def predicted(bundle: Path, *overlays: str, **settings: Any) -> np.ndarray:
    """The label map that inference.json writes of a single case."""
    files = [str(bundle / "configs" / name) for name in ("inference.json", *overlays)]
    config = ConfigParser(ConfigParser.load_config_files(files))
    config.update({**for_inference(bundle / "configs", ["sample.json"]), "device": "cpu", "pictures": 0, **settings})
    config.get_parsed_content("evaluator").run()
    output = Path(settings["output_dir"])
    assert json.loads((output / "failures.json").read_text()) == []
    (file,) = output.glob("*_seg*")
    return np.asarray(LoadImage(image_only=True)(file))


@pytest.fixture(scope="module")
def scan(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The first case, as a data set of its own."""
    folder = tmp_path_factory.mktemp("scan")
    first = inference_datalist(sample_data, folder)[0]["image"]
    if not isinstance(first, list):
        return {"dataset_dir": str(first)}
    return {"dataset_dir": str(Path(first[0]).parent)}


@pytest.mark.slow_but_for("vnet_left_atrium")
def test_an_ensemble_of_one_training_twice_predicts_what_it_does_alone(
    bundle: Path, trained: Path, scan: dict[str, str], tmp_path: Path
) -> None:
    models = str(trained / "models")
    alone = predicted(bundle, **scan, ckpt_dir=models, output_dir=str(tmp_path / "one"))
    twice = predicted(bundle, "ensemble.json", **scan, ckpt_dir=[models, models], output_dir=str(tmp_path / "two"))
    assert (alone != twice).mean() < 1e-4  # a probability of one half may be rounded to the other side
