"""What inference takes over from a training that fits no numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from common.datasets import plan_once, plan_recipe, read_plan

CASES = [{"case": "b"}, {"case": "a"}]


def test_settings_and_cases_are_read_back(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 3, 1)
    plan_recipe(tmp_path / "plan.json", CASES, network=network, settings={"spacing": [2, 1, 1]})
    plan = read_plan(tmp_path / "plan.json", network=network)
    assert plan["spacing"] == [2, 1, 1]
    assert plan["cases"] == ["a", "b"]
    assert plan["demonstration_only"] is False


def test_other_settings_replace_the_file(tmp_path: Path) -> None:
    for spacing in ([1, 1, 1], [2, 1, 1]):
        plan_recipe(tmp_path / "plan.json", CASES, network=nn.Identity(), settings={"spacing": spacing})
    assert read_plan(tmp_path / "plan.json")["spacing"] == [2, 1, 1]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    plan_recipe(tmp_path / "plan.json", CASES, network=nn.Conv3d(1, 3, 1), settings={})
    with pytest.raises(ValueError, match="configured otherwise"):
        read_plan(tmp_path / "plan.json", network=nn.Sequential(nn.Conv3d(1, 3, 1), nn.InstanceNorm3d(3)))


def test_earlier_weights_are_refused_beside_other_numbers_until_they_are_replaced(tmp_path: Path) -> None:
    weights, file = tmp_path / "model.pt", tmp_path / "plan.json"
    for spacing in ([1, 1, 1], [2, 1, 1], [3, 1, 1]):  # twice without weights of its own
        plan_recipe(file, CASES, network=nn.Identity(), settings={"spacing": spacing})
        if not weights.exists():
            weights.write_bytes(b"trained with 1 mm")
            read_plan(file)
        else:
            with pytest.raises(ValueError, match=r"model\.pt: is of an earlier training than .*plan\.json"):
                read_plan(file)
    plan_recipe(file, CASES, network=nn.Identity(), settings={"spacing": [1, 1, 1]})  # again those of the weights
    assert read_plan(file)["spacing"] == [1, 1, 1]
    plan_recipe(file, CASES, network=nn.Identity(), settings={"spacing": [3, 1, 1]})
    weights.write_bytes(b"trained with 3 mm")
    assert read_plan(file)["spacing"] == [3, 1, 1]


def test_the_same_numbers_from_other_inputs_are_those_of_the_weights(tmp_path: Path) -> None:
    for inputs in ("a", "b"):
        plan_once(tmp_path / "plan.json", {"inputs": inputs}, lambda: {"spacing": [1, 1, 1]}, weights="model.pt")
        (tmp_path / "model.pt").write_bytes(b"weights")
    assert "earlier_weights" not in json.loads((tmp_path / "plan.json").read_text())
