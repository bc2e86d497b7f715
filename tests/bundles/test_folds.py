"""`make train FOLDS=all` on phantoms: two folds, an epoch each, pooled, and predicted with together."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QUICK = [
    "--epochs=1",
    "--val_interval=1",
    "--folds=2",
    "--crop=none",
    "--num_workers=0",
    "--pictures=0",
    "--device=cpu",
]


def go(data: Path, run: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tools.pipeline", "train", "--bundle=vnet_left_atrium", "--sample=True"]
    done = subprocess.run(
        [*command, f"--dataset_dir={data}", f"--run={run}", "--cross_validate=all", *QUICK, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def counted(bundle: Path, data: Path, folder: Path, *settings: str) -> subprocess.CompletedProcess:
    paths = [f"--dataset_dir={data}", f"--ckpt_dir={folder}/models", f"--cache_dir={folder}/cache"]
    files = ["--config_file=['configs/train.json', 'configs/sample.json']", f"--answer={folder}/folds.json"]
    return subprocess.run(
        [sys.executable, "-m", "tools.fold_count", *files, *paths, *settings],
        capture_output=True,
        text=True,
        cwd=bundle,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.slow
def test_two_folds_are_trained_measured_together_and_predict_together(phantoms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = go(phantoms, run, "--groups", r"phantom_00(\d)")
    with (run / "evaluation/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["case"] for row in rows) == [f"phantom_00{n}" for n in range(6)]
    assert {row["fold"] for row in rows} == {"0", "1"}
    for fold in (0, 1):
        plan = json.loads((run / f"fold_{fold}/models/plan.json").read_text())
        assert {*plan["cases"]} == {row["case"] for row in rows if row["fold"] != str(fold)}
        assert plan["groups"] == r"phantom_00(\d)"
    report = json.loads((run / "evaluation/metrics.json").read_text())
    low, high = report["summary"]["left_atrium"]["dice"]["mean_ci95"]
    assert low <= report["summary"]["left_atrium"]["dice"]["mean"] <= high
    assert len(list((run / "predictions").glob("*_seg.*"))) == 6
    assert "6 cases of all 2 folds" in said

    again = go(phantoms, run, "--groups", r"phantom_00(\d)")
    assert "Fold 0 of 2 is finished" in again and "train_locator" not in again


@pytest.mark.slow_but_for("vnet_left_atrium")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(["--folds=2"], 2, id="as many as asked for"),
        pytest.param(["--folds=50"], 6, id="as many as cases"),
        pytest.param(["--folds=5", r"--groups=^(\w)(?=.*[1-3]$)"], 4, id="as many as patients, one with three scans"),
    ],
)
def test_the_cases_make_folds(
    bundle: Path, sample_data: Path, settings: list[str], expected: int, tmp_path: Path
) -> None:
    answer = tmp_path / "folds.json"
    done = counted(bundle, sample_data, tmp_path, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(answer.read_text()) == {"folds": expected}


def test_a_wrong_pattern_is_one_line(phantoms: Path, tmp_path: Path) -> None:
    done = counted(REPOSITORY / "bundles/vnet_left_atrium", phantoms, tmp_path, "--groups=(patient)_")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "groups=(patient)_: matches no case's name, such as phantom_000" in done.stderr
