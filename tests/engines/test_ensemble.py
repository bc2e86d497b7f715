"""Several trained networks as one model, on a cohort with a bad case."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import AsDiscreted, Compose, MeanEnsembled
from torch import nn

from common.checkpoints import save_weights
from common.datasets import plan_recipe
from common.engines import CohortDataset, FaultTolerantEvaluator, ensemble_members
from common.handlers import FailureLog
from common.transforms import SaveImageAsPredictiond, load_on_grid


def network() -> nn.Module:
    return nn.Conv3d(1, 1, 1, bias=False)


def trained(folder: Path, factor: float, *, net: nn.Module | None = None, **settings: object) -> Path:
    """The folder of a training whose network multiplies by a factor."""
    net = network() if net is None else net
    nn.init.constant_(net.weight, factor)
    plan_recipe(folder / "plan.json", [{"case": folder.name}], network=net, settings={"fold": int(factor), **settings})
    save_weights(net, folder / "model.pt")
    return folder


def test_members_have_the_weights_of_their_folders_in_this_order(tmp_path: Path) -> None:
    members = ensemble_members(network(), [trained(tmp_path / str(n), n) for n in (3.0, 1.0, 2.0)])
    assert [member.weight.item() for member in members] == [3.0, 1.0, 2.0]


def test_one_folder_is_an_ensemble_of_one(tmp_path: Path) -> None:
    assert len(ensemble_members(network(), str(trained(tmp_path / "a", 1.0)))) == 1


def test_trainings_that_prepare_their_images_differently_are_not_averaged(tmp_path: Path) -> None:
    folders = [trained(tmp_path / "a", 1.0, spacing=None), trained(tmp_path / "b", 1.0, spacing=[1, 1, 1])]
    with pytest.raises(ValueError, match=r"b/plan\.json: spacing differs from the first member's"):
        ensemble_members(network(), folders)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = nn.Conv3d(1, 1, 1, bias=False, dilation=2)
    with pytest.raises(ValueError, match="configured otherwise"):
        ensemble_members(network(), [trained(tmp_path / "a", 1.0), trained(tmp_path / "b", 1.0, net=other)])


def test_the_members_mean_is_written_and_a_bad_case_ends_nothing(tmp_path: Path) -> None:
    ramp = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(ramp, np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(b"no image")
    cases = [{"case": name, "image": str(tmp_path / f"{name}.nii.gz")} for name in "ab"]
    failures = FailureLog(tmp_path / "out")
    keys = ["pred_0", "pred_1"]
    postprocessing = [MeanEnsembled(keys, output_key="pred"), AsDiscreted("pred", threshold=100.0)]
    FaultTolerantEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CohortDataset(cases, load_on_grid(["image"], axcodes="RAS")), batch_size=1),
        network=ensemble_members(network(), [trained(tmp_path / str(n), n) for n in (1.0, 4.0)]),
        pred_keys=keys,
        postprocessing=Compose([*postprocessing, SaveImageAsPredictiond("pred", tmp_path / "out")]),
        failures=failures,
    ).run()
    assert [failure["case"] for failure in json.loads((tmp_path / "out/failures.json").read_text())] == ["b"]
    np.testing.assert_array_equal(nibabel.load(tmp_path / "out/a_seg.nii.gz").get_fdata(), 2.5 * ramp >= 100)


def test_each_network_has_a_name_for_its_answer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pred_keys names 1 answers, expected one for each of 2"):
        FaultTolerantEvaluator(
            device=torch.device("cpu"),
            val_data_loader=[],
            network=[network(), network()],
            failures=FailureLog(tmp_path),
        )
