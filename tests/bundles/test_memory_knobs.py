"""Where memory is short, the message names knobs that the config has and that this run uses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from common.arguments import knows

ELSEWHERE = {"knobs", "command", "cases"}  # what checks a knob or reports, and does not compute with it


def runs(bundle: Path) -> list[tuple[str, ...]]:
    stages = [(path.name,) for path in sorted(bundle.glob("configs/train*.json"))]
    predictions = [("inference.json",), ("inference.json", "multi_gpu_inference.json")]
    return [*stages, ("train.json", "evaluate.json"), *predictions]


def config_of(bundle: Path, files: tuple[str, ...]) -> dict:
    return ConfigParser.load_config_files([bundle / "configs" / name for name in files])


def used(config: dict, node: object, seen: set[str]) -> set[str]:
    """The top-level ids that a node needs, directly or through others."""
    for key in set(re.findall(r"@(\w+)", json.dumps(node))) - seen - ELSEWHERE:
        seen.add(key)
        used(config, config.get(key), seen)
    return seen


def test_every_run_names_knobs_that_its_config_has_and_that_decide_what_it_computes(bundle: Path) -> None:
    for files in runs(bundle):
        config = config_of(bundle, files)
        named = [setting.split()[0] for setting in config["command"]["memory_knobs"]]
        assert named, files
        assert [knob for knob in named if not knows(config, knob)] == [], files
        needed = used(config, config["run"], set())
        assert [knob for knob in named if knob.split("::")[0] not in needed] == [], files


def test_an_evaluation_or_prediction_names_no_knob_of_training(bundle: Path) -> None:
    for files in [("train.json", "evaluate.json"), ("inference.json",)]:
        named = config_of(bundle, files)["command"]["memory_knobs"]
        assert {"batch_size", "patch", "points"} & set(named) == set(), files


@pytest.mark.parametrize("run_id", ["training", "evaluation", "inference"])
def test_too_little_memory_is_one_line_that_names_the_knobs_of_the_run(
    bundle: Path, run_id: str, run_bundle, tmp_path: Path
) -> None:
    files = {"training": ["train.json"], "evaluation": ["train.json", "evaluate.json"], "inference": ["inference.json"]}
    knobs = config_of(bundle, tuple(files[run_id]))["command"]["memory_knobs"]
    short = {"version": "$(_ for _ in ()).throw(MemoryError())", "output_dir": tmp_path / "out"}
    done = run_bundle(bundle, "training" if run_id == "training" else "run", *files[run_id], **short)
    (line,) = [line for line in done.stderr.splitlines() if "parsing config_file" not in line]
    assert done.returncode == 1 and line.startswith("out of memory: lower --")
    assert [knob for knob in knobs if f"--{knob}" not in line] == []
