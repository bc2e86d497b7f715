"""Damaged, hostile and other networks' weights: one line, the same from every command of every bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tools.overlays import for_inference


class Foreign:
    """A class that weights must not hold."""


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def web_page(file: Path) -> None:
    file.write_text("<!DOCTYPE html><html>Not found</html>")


def foreign(file: Path) -> None:
    torch.save({"weight": Foreign()}, file)


def other_shape(file: Path) -> None:
    state = torch.load(file, weights_only=True)
    name = next(iter(state))
    torch.save({**state, name: torch.zeros(3, 3)}, file)


def other_network(file: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, file)


def not_finite(file: Path) -> None:
    state = torch.load(file, weights_only=True)
    broken = {name: value * float("nan") if value.is_floating_point() else value for name, value in state.items()}
    torch.save(broken, file)


def missing(file: Path) -> None:
    file.unlink()


def without_values(file: Path) -> None:
    kept = {name: value for name, value in json.loads(file.read_text()).items() if name in OF_EVERY_FIT}
    file.write_text(json.dumps(kept))


OF_EVERY_FIT = ("network", "cases", "demonstration_only")
FAULTS: list[tuple[str, Callable[[Path], None], str]] = [
    ("model.pt", missing, "no such file of weights"),
    ("model.pt", truncated, "cannot be read as weights: truncated"),
    ("model.pt", web_page, "cannot be read as weights: a web page"),
    ("model.pt", foreign, "holding more than tensors and numbers: "),
    ("model.pt", other_shape, "shape (3, 3), expected ("),
    ("model.pt", other_network, "the weights do not fit "),
    ("model.pt", not_finite, "did the training diverge?"),
    ("plan.json", missing, "the plan of the training is missing"),
    ("plan.json", truncated, ""),
    ("plan.json", web_page, "is a web page, expected JSON"),
    ("plan.json", without_values, " is missing; copy the file that was written with the weights"),
]


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "models", tmp_path / "models"))


def commands(bundle: Path, cache: Path) -> dict[str, tuple[list[str], dict]]:
    return {
        "evaluation": (["train.json", "sample.json", "evaluate.json"], {"cache_dir": cache}),
        "inference": (["inference.json"], for_inference(bundle / "configs", ["sample.json"])),
    }


@pytest.mark.slow_but_for("vox2vox")
@pytest.mark.parametrize("command", ["evaluation", "inference"])
def test_what_lies_beside_a_model_is_refused_in_one_line_with_the_file(
    bundle: Path, command: str, sample_data: Path, trained: Path, models: Path, run_bundle, tmp_path: Path
) -> None:
    for file, damage, reason in FAULTS:
        whole = (models / file).read_bytes()
        damage(models / file)
        files, settings = commands(bundle, tmp_path / "cache")[command]
        paths = {"dataset_dir": sample_data, "ckpt_dir": models, "output_dir": tmp_path / "out", **settings}
        done = run_bundle(bundle, "run", *files, device="cpu", num_workers=0, **paths)
        (models / file).write_bytes(whole)
        (line,) = [line for line in done.stderr.splitlines() if "parsing config_file" not in line]
        assert done.returncode == 1, damage.__name__
        assert line.startswith(f"{models / file}: ") and reason in line, damage.__name__
        assert "weights_only" not in line and "--resume" not in line, damage.__name__


def test_every_command_of_every_bundle_loads_weights_by_the_loader_that_refuses_in_one_line(bundle: Path) -> None:
    def loaders(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["_target_"]] if "CheckpointLoader" in str(node.get("_target_")) else []
            return own + [found for value in node.values() for found in loaders(value)]
        return [found for value in node for found in loaders(value)] if isinstance(node, list) else []

    found = {path.name: loaders(json.loads(path.read_text())) for path in bundle.glob("configs/**/*.json")}
    assert found["inference.json"] == found["evaluate.json"] == ["common.handlers.CheckpointLoader"]
    assert {name for names in found.values() for name in names} == {"common.handlers.CheckpointLoader"}
