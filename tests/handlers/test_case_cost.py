"""The table of what each case cost."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
import torch
from monai.data import DataLoader
from torch import Tensor, nn

from common.engines import CohortDataset, FaultTolerantEvaluator
from common.handlers import CaseCost, FailureLog
from common.inferers import CoarseToFineInferer, Locator
from common.transforms import FixedGrid

# seconds that case 1, 2 and 3 spend in each stage
LOADING = {1: 0.01, 2: 0.11, 3: 0.01}
COARSE = {1: 0.12, 2: 0.02, 3: 0.02}
BOX = {1: 0.02, 2: 0.02, 3: 0.12}
FINE = {1: 0.02, 2: 0.22, 3: 0.02}
FINISH = {1: 0.21, 2: 0.01, 3: 0.11}


class Slow(nn.Module):
    def __init__(self, seconds: dict[int, float]) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        if int(x.max()) == 9:
            raise RuntimeError("a bad case")
        time.sleep(self.seconds[int(x.max())])
        return x


def run(folder: Path, *numbers: int, overlap: bool = True) -> dict[str, dict[str, float]]:
    """Costs of each case, as ``costs.csv`` has them."""

    def load(item: dict) -> dict:
        time.sleep(LOADING.get(item["number"], 0))
        return {**item, "image": torch.full((1, 4, 4, 4), float(item["number"]))}

    def finish(data: dict) -> dict:
        time.sleep(FINISH[int(data["pred"].max())])
        return data

    def box(logits: Tensor, shape: tuple, spacing: tuple) -> None:
        time.sleep(BOX[int(logits.max())])

    data = [{"case": f"case{n}", "image": "", "number": n} for n in numbers]
    FaultTolerantEvaluator(
        device="cpu",
        val_data_loader=DataLoader(CohortDataset(data, load), batch_size=1),
        network=Slow(FINE),
        inferer=CoarseToFineInferer(Locator(Slow(COARSE), grid=FixedGrid(4), box=box)),
        postprocessing=finish,
        val_handlers=[CaseCost(folder)],
        failures=FailureLog(folder),
        overlap=overlap,
    ).run()
    with (folder / "costs.csv").open() as file:
        return {row.pop("case"): {k: float(v) for k, v in row.items()} for row in csv.DictReader(file)}


@pytest.mark.parametrize("overlap", [True, False])
def test_seconds_of_each_stage_are_those_of_the_case(tmp_path, overlap):
    table = run(tmp_path, 1, 2, 3, overlap=overlap)
    stages = {
        "loading": LOADING,
        "coarse": COARSE,
        "coarse_postprocessing": BOX,
        "fine": FINE,
        "postprocessing": FINISH,
    }
    for name, expected in stages.items():
        for n in (1, 2, 3):
            assert expected[n] <= table[f"case{n}"][f"{name}_s"], (name, n)
        slowest = max(expected, key=expected.get)
        assert max(table, key=lambda case: table[case][f"{name}_s"]) == f"case{slowest}", name


def test_inference_is_all_that_the_inferer_does(tmp_path):
    for row in run(tmp_path, 1, 2).values():
        assert row["inference_s"] >= row["coarse_s"] + row["coarse_postprocessing_s"] + row["fine_s"] - 1e-3


def test_every_case_has_a_peak_of_memory_and_the_summary_says_of_what(tmp_path):
    table = run(tmp_path, 1, 2)
    summary = json.loads((tmp_path / "costs.json").read_text())
    peaks = [row["peak_memory_mib"] for row in table.values()]
    assert all(10 < peak < 1e6 for peak in peaks)
    assert summary["summary"]["peak_memory_mib"]["max"] == max(peaks)
    assert summary["memory"].startswith("resident memory of the process")
    assert (summary["device"], summary["n"]) == ("cpu", 2)


def test_summary_has_mean_median_and_maximum(tmp_path):
    table = run(tmp_path, 1, 2, 3)
    seconds = sorted(row["postprocessing_s"] for row in table.values())
    expected = {"mean": sum(seconds) / 3, "median": seconds[1], "max": seconds[2]}
    assert json.loads((tmp_path / "costs.json").read_text())["summary"]["postprocessing_s"] == pytest.approx(expected)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_case_that_failed_has_no_row_and_no_part_in_its_neighbors(tmp_path, overlap):
    table = run(tmp_path, 2, 9, 1, overlap=overlap)
    assert list(table) == ["case1", "case2"]
    assert table["case1"]["fine_s"] < FINE[2]


def test_a_cohort_without_a_case_has_an_empty_table(tmp_path):
    assert run(tmp_path) == {}
    assert json.loads((tmp_path / "costs.json").read_text())["n"] == 0
