"""What inference takes over from a training that fits no numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from common.datasets import fit_recipe, read_fit

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
