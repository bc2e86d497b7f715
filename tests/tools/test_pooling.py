"""The evaluations of several folds as one."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tools.pooling import mean_interval, pool


def row(case: str, dice: float, hd: float | None, *, structure: str = "liver", voxels: int = 8) -> dict:
    """As in an evaluation's metrics.json, where a distance that is infinite is null."""
    both = round(dice * voxels)
    counts = {"voxels_prediction": voxels, "voxels_reference": voxels, "voxels_both": both}
    volumes = {"volume_prediction_mm3": float(voxels)}
    return {"case": case, "structure": structure, "dice": dice, "hd_mm": hd, **counts, **volumes, "missed": hd is None}


def evaluation(folder: Path, rows: list[dict], **further: object) -> Path:
    folder.mkdir(parents=True)
    report = {"tolerance_mm": 1.0, "summary": {}, "pooled": {}, **further, "cases": rows}
    (folder / "metrics.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> dict[int, Path]:
    return {
        0: evaluation(tmp_path / "fold_0", [row("a", 0.25, None), row("b", 0.5, 2.0)]),
        1: evaluation(tmp_path / "fold_1", [row("c", 0.75, 4.0)]),
    }


def test_the_mean_is_that_of_all_cases_not_of_the_folds_means(two: dict[int, Path], tmp_path: Path) -> None:
    summary = pool(two, tmp_path / "out")["summary"]["liver"]
    assert (summary["dice"]["mean"], summary["dice"]["n"]) == (0.5, 3)


def test_a_missed_structure_is_counted_and_left_out_of_the_mean_distance(two: dict[int, Path], tmp_path: Path) -> None:
    distances = pool(two, tmp_path / "out")["summary"]["liver"]["hd_mm"]
    assert (distances["mean"], distances["n"], distances["n_missed"]) == (3.0, 2, 1)


def test_every_case_stands_in_the_table_with_its_fold(two: dict[int, Path], tmp_path: Path) -> None:
    pool(two, tmp_path / "out")
    with (tmp_path / "out/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["fold"], r["dice"], r["hd_mm"]) for r in rows] == [
        ("a", "0", "0.25", ""),
        ("b", "0", "0.5", "2.0"),
        ("c", "1", "0.75", "4.0"),
    ]
    stored = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [(case["case"], case["fold"]) for case in stored["cases"]] == [("a", 0), ("b", 0), ("c", 1)]


def test_a_case_that_validates_in_two_folds_is_an_error(tmp_path: Path) -> None:
    folds = {k: evaluation(tmp_path / f"fold_{k}", [row("a", 0.5, 1.0)]) for k in (0, 1)}
    with pytest.raises(ValueError, match="a: validates in fold 0 and in fold 1, which are of different splits"):
        pool(folds, tmp_path / "out")


def test_what_healthy_patients_lack_is_summarized_over_the_cases_that_have_it(tmp_path: Path) -> None:
    absent = {"absent": {"tumor": {"n_absent": 1}}}
    healthy = row("b", 1.0, 0.0, structure="tumor", voxels=0)
    folds = {
        0: evaluation(tmp_path / "fold_0", [row("a", 0.5, 1.0, structure="tumor")], **absent),
        1: evaluation(tmp_path / "fold_1", [healthy], **absent),
    }
    pooled = pool(folds, tmp_path / "out")
    assert pooled["summary"]["tumor"]["dice"]["mean"] == 0.5 and pooled["absent"]["tumor"]["n_absent"] == 1


def test_tables_of_further_measures_are_joined_and_their_summaries_stand_fold_by_fold(tmp_path: Path) -> None:
    folds = {k: evaluation(tmp_path / f"fold_{k}", [row("ab"[k], 0.5, 1.0)], lesions={"found": k}) for k in (0, 1)}
    for k, folder in folds.items():
        (folder / "lesions.csv").write_text(f"case,volume_mm3\n{'ab'[k]},7.5\n")
    assert pool(folds, tmp_path / "out")["lesions"] == {"fold_0": {"found": 0}, "fold_1": {"found": 1}}
    assert (tmp_path / "out/lesions.csv").read_text().split() == ["case,fold,volume_mm3", "a,0,7.5", "b,1,7.5"]


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide_on_each_side() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=400)
    low, high = mean_interval([*values, math.inf])
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)
    assert mean_interval([*values, math.inf]) == [low, high]


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.inf]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    assert mean_interval(values) is None
