"""Time and memory of inference against points per pass, on a phantom and untrained weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from benchmarks.bundles import BUNDLES
from benchmarks.points_per_pass import markdown, measure
from common.datasets import find_plan, plan_recipe
from common.phantoms import write_brats2020


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], Path]:
    folder = tmp_path_factory.mktemp("points_per_pass")
    write_brats2020(str(folder / "data"), cases=1, seed=0)
    network = ConfigParser.load_config_file(BUNDLES / "oss_net/configs/sample.json")["network_def"]
    torch.manual_seed(0)
    network = ConfigParser(network).get_parsed_content("")
    settings = {"channel_order": [0, 1, 2, 3], "working_size": [64, 64, 48], "placement": "pad"}
    plan = find_plan(folder / "nowhere", bundle="oss_net")
    plan_recipe(folder / "models/plan.json", cases=[], network=network, settings=settings, plan=plan)
    torch.save(network.state_dict(), folder / "models/model.pt")
    paths = [str(path) for path in (folder / "models", folder / "data", folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # other tests run at the same time
        rows = measure(*paths, overlay="sample.json", exponents=(12,), dense_exponents=(12, 16))
    return rows, folder


@pytest.mark.slow
def test_every_setting_is_measured(answer: tuple[list[dict], Path]) -> None:
    rows, _ = answer
    assert [(row["strategy"], row["points_per_pass"]) for row in rows] == [
        ("mise", 4096),
        ("dense", 4096),
        ("dense", 65536),
    ]
    assert rows[0]["points"] <= rows[1]["points"] == rows[2]["points"]
    assert rows[2]["dice"] == pytest.approx(rows[1]["dice"], abs=1e-3)


@pytest.mark.slow
def test_more_points_per_pass_take_more_memory(answer: tuple[list[dict], Path]) -> None:
    rows, _ = answer
    assert rows[1]["above_mib"] + 20 < rows[2]["above_mib"]


@pytest.mark.slow
def test_the_table_is_written(answer: tuple[list[dict], Path]) -> None:
    rows, folder = answer
    assert json.loads((folder / "points_per_pass.json").read_text())["rows"] == rows
    assert (folder / "points_per_pass.md").read_text() == markdown(rows)


def test_table_says_what_fraction_of_the_voxels_was_evaluated() -> None:
    row = {
        "strategy": "mise",
        "points_per_pass": 512,
        "points": 5,
        "voxels": 50,
        "seconds": 2,
        "above_mib": 7,
        "dice": 1,
    }
    assert re.sub(" +", " ", markdown([row])).splitlines()[-1] == "| mise | 2^9 | 5 (10.0%) | 2.0 | 7 | 1.0000 |"
