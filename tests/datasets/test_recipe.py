"""What inference takes over from a training that fits no numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from common.datasets import fit_once, fit_recipe, read_fit

CASES = [{"case": "b"}, {"case": "a"}]


def test_settings_and_cases_are_read_back(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 3, 1)
    fit_recipe(tmp_path / "fit.json", CASES, network=network, settings={"spacing": [2, 1, 1]})
    fit = read_fit(tmp_path / "fit.json", network=network)
    assert fit["spacing"] == [2, 1, 1]
    assert fit["cases"] == ["a", "b"]
    assert fit["demonstration_only"] is False


def test_other_settings_replace_the_file(tmp_path: Path) -> None:
    for spacing in ([1, 1, 1], [2, 1, 1]):
        fit_recipe(tmp_path / "fit.json", CASES, network=nn.Identity(), settings={"spacing": spacing})
    assert read_fit(tmp_path / "fit.json")["spacing"] == [2, 1, 1]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    fit_recipe(tmp_path / "fit.json", CASES, network=nn.Conv3d(1, 3, 1), settings={})
    with pytest.raises(ValueError, match="configured otherwise"):
        read_fit(tmp_path / "fit.json", network=nn.Sequential(nn.Conv3d(1, 3, 1), nn.InstanceNorm3d(3)))


def test_earlier_weights_are_refused_beside_other_numbers_until_they_are_replaced(tmp_path: Path) -> None:
    weights, file = tmp_path / "model.pt", tmp_path / "fit.json"
    for spacing in ([1, 1, 1], [2, 1, 1], [3, 1, 1]):  # twice without weights of its own
        fit_recipe(file, CASES, network=nn.Identity(), settings={"spacing": spacing})
        if not weights.exists():
            weights.write_bytes(b"trained with 1 mm")
            read_fit(file)
        else:
            with pytest.raises(ValueError, match=r"model\.pt: is of an earlier training than .*fit\.json"):
                read_fit(file)
    fit_recipe(file, CASES, network=nn.Identity(), settings={"spacing": [1, 1, 1]})  # again those of the weights
    assert read_fit(file)["spacing"] == [1, 1, 1]
    fit_recipe(file, CASES, network=nn.Identity(), settings={"spacing": [3, 1, 1]})
    weights.write_bytes(b"trained with 3 mm")
    assert read_fit(file)["spacing"] == [3, 1, 1]


def test_the_same_numbers_from_other_inputs_are_those_of_the_weights(tmp_path: Path) -> None:
    for inputs in ("a", "b"):
        fit_once(tmp_path / "fit.json", {"inputs": inputs}, lambda: {"spacing": [1, 1, 1]}, weights="model.pt")
        (tmp_path / "model.pt").write_bytes(b"weights")
    assert "earlier_weights" not in json.loads((tmp_path / "fit.json").read_text())
