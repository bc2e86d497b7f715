"""What the tests of published weights share: their state dicts as the specifications list them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

State = dict[str, torch.Tensor]


def fill(shape: list[int], kind: str) -> torch.Tensor:
    return torch.rand(shape) if kind.startswith("float") else torch.ones(shape, dtype=torch.int64)


@pytest.fixture(scope="session")
def listed(shared_papers: Path) -> Callable[[str, str], State]:
    """``listed(bundle, name)``: random values under the published keys."""

    def make(bundle: str, name: str) -> State:
        listing = json.loads((shared_papers / f"{bundle}_state_dict.json").read_text())
        if bundle == "oss_net":
            return {key: fill(shape, kind) for key, shape, kind in listing["variants"][name]["entries"]}
        if bundle == "unet_liver_tumor":
            return {key: fill(entry["shape"], entry["dtype"]) for key, entry in listing["state_dict"].items()}
        entries = (listing if name in listing else listing["variants"])[name]["entries"]
        return {entry["key"]: fill(entry["shape"], entry["dtype"]) for entry in entries}

    return make


@pytest.fixture
def unet_file(listed: Callable, tmp_path: Path) -> Path:
    """A Lightning checkpoint of the liver U-Net."""
    state = {f"model.{key}": value for key, value in listed("unet_liver_tumor", "").items()}
    torch.save({"epoch": 97, "state_dict": state, "lr_schedulers": []}, tmp_path / "epoch=97.ckpt")
    return tmp_path / "epoch=97.ckpt"
