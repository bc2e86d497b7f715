"""The plan by which several trainings predict together, and their weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from common.checkpoints import save_weights
from common.datasets import plan_recipe
from common.engines import ensemble_plan
from common.handlers import CheckpointLoader
from common.inferers import Locator
from common.networks import EnsembleNetwork
from common.transforms import FixedGrid, LargestComponentBox
from common.transforms.boxes import Box


def network() -> nn.Module:
    return nn.Conv3d(1, 1, 1, bias=False)


def trained(folder: Path, factor: float, *, net: nn.Module | None = None, **settings: object) -> Path:
    """The folder of a training whose network multiplies by a factor."""
    net = network() if net is None else net
    nn.init.constant_(net.weight, factor)
    plan_recipe(folder / "plan.json", [{"case": folder.name}], network=net, settings={"fold": int(factor), **settings})
    save_weights(net, folder / "model.pt")
    return folder


def test_members_get_the_weights_of_their_folders_in_this_order(tmp_path: Path) -> None:
    files = [str(trained(tmp_path / str(n), n) / "model.pt") for n in (3.0, 1.0, 2.0)]
    members = EnsembleNetwork(network(), 3, output="sigmoid")
    CheckpointLoader(files, {"model": members})(Engine(lambda *_: None))
    assert [member.weight.item() for member in members.members] == [3.0, 1.0, 2.0]


def test_there_is_one_file_for_each_member(tmp_path: Path) -> None:
    file = str(trained(tmp_path / "a", 1.0) / "model.pt")
    with pytest.raises(ValueError, match="zip"):
        CheckpointLoader([file], {"model": EnsembleNetwork(network(), 2, output="sigmoid")})(Engine(lambda *_: None))


def test_the_plan_of_one_folder_is_its_own(tmp_path: Path) -> None:
    plan = ensemble_plan(str(trained(tmp_path / "a", 1.0, spacing=[1, 1, 1])), network=network())
    assert plan["spacing"] == [1, 1, 1] and plan["cases"] == ["a"]


def test_crops_of_the_members_take_the_largest_sides_and_intensities_their_mean(tmp_path: Path) -> None:
    folders = [
        trained(tmp_path / "a", 1.0, crop_size=[64, 80, 96], mean=2.0, std=1.0),
        trained(tmp_path / "b", 2.0, crop_size=[72, 64, 96], mean=4.0, std=2.0),
    ]
    plan = ensemble_plan(folders, network=network())
    assert (plan["crop_size"], plan["mean"], plan["std"]) == ([72, 80, 96], 3.0, 1.5)


def test_an_ensemble_knows_all_cases_it_was_trained_on_and_that_some_were_phantoms(tmp_path: Path) -> None:
    folders = [trained(tmp_path / name, 1.0) for name in "ab"]
    plan_recipe(tmp_path / "c/plan.json", [{"case": "c"}], network=network(), settings={}, demonstration_only=True)
    plan = ensemble_plan([*folders, tmp_path / "c"], network=network())
    assert plan["cases"] == ["a", "b", "c"] and plan["demonstration_only"] is True


def test_trainings_that_prepare_their_images_differently_are_not_averaged(tmp_path: Path) -> None:
    folders = [trained(tmp_path / "a", 1.0, spacing=None), trained(tmp_path / "b", 1.0, spacing=[1, 1, 1])]
    with pytest.raises(ValueError, match=r"b/plan\.json: spacing differs from the first member's"):
        ensemble_plan(folders, network=network())


def test_a_whole_volume_and_a_crop_are_not_averaged(tmp_path: Path) -> None:
    folders = [trained(tmp_path / "a", 1.0, crop_size=None), trained(tmp_path / "b", 1.0, crop_size=[8, 8, 8])]
    with pytest.raises(ValueError, match="crop_size differs"):
        ensemble_plan(folders, network=network())


def test_a_plan_of_another_network_is_refused(tmp_path: Path) -> None:
    other = nn.Conv3d(1, 1, 1, bias=False, dilation=2)
    with pytest.raises(ValueError, match="configured otherwise"):
        ensemble_plan([trained(tmp_path / "a", 1.0), trained(tmp_path / "b", 1.0, net=other)], network=network())


def test_a_locator_of_several_trainings_finds_by_their_mean_probability(tmp_path: Path) -> None:
    files = [trained(tmp_path / str(n), n) / "model.pt" for n in (-1.0, 3.0)]
    structure = Box((2, 3, 4), (5, 6, 7))
    volume = torch.full((1, 8, 8, 8), -0.1)  # the first member finds this, the second the structure, both are sure
    volume[(slice(None), *structure.slices)] = 5.0
    volume[:, 7] = -5.0
    settings = {"grid": FixedGrid(8), "box": LargestComponentBox()}
    assert Locator(network(), weights=files[0], **settings)(volume) != structure
    assert Locator(network(), weights=files, **settings)(volume) == structure
