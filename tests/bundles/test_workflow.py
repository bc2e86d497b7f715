"""`monai.bundle.create_workflow`: other software takes a bundle's parts by the names that MONAI has for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import create_workflow


@pytest.fixture
def settings(trained: Path, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(sys, "path", [*sys.path])  # configs put the bundle's folder there
    monkeypatch.chdir(tmp_path)
    paths = {"ckpt_dir": trained / "models", "dataset_dir": sample_data, "output_dir": tmp_path / "out"}
    return {"logging_file": False, "device": "cpu", "num_workers": 0, **{key: str(path) for key, path in paths.items()}}


def test_a_training_workflow_gives_and_takes_properties(bundle: Path, trained: Path, settings: dict) -> None:
    flow = create_workflow(
        config_file=[str(bundle / "configs" / name) for name in ("train.json", "sample.json")],
        workflow_type="train",
        cache_dir=str(trained / "cache"),
        **settings,
    )
    assert isinstance(flow.network_def, torch.nn.Module) and isinstance(flow.trainer.network, type(flow.network_def))
    assert {case["case"] for case in flow.train_dataset_data}.isdisjoint(case["case"] for case in flow.val_dataset_data)
    flow.max_epochs = 7
    flow.initialize()
    assert flow.trainer.state.max_epochs == 7


@pytest.mark.slow_but_for("vox2vox")
def test_a_workflow_of_inference_predicts(bundle: Path, settings: dict, sample_data: Path) -> None:
    flow = create_workflow(
        config_file=[str(bundle / "configs" / name) for name in ("inference.json", "sample.json")],
        workflow_type="infer",
        pictures=0,
        **settings,
    )
    flow.run()
    assert flow.evaluator.state.iteration == len(flow.dataset_data)
    assert len([path for path in Path(settings["output_dir"]).iterdir() if "_seg." in path.name]) >= 1
