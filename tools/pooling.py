"""The evaluations of a cross-validation's folds as one: each case once, measured by the network that did not see it."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from common.files import TEXT, read_json, whole_file
from common.metrics import absent_references, pooled_overlap, summarize

CONFIDENCE = 0.95
KNOWN = {"tolerance_mm", "summary", "pooled", "absent", "cases"}  # in metrics.json; the rest are further measures

Rows = list[dict[str, Any]]


def pool(evaluations: Mapping[int, Path], output_dir: Path) -> dict[str, Any]:
    """Write `metrics.csv`, `metrics.json` and the tables of further measures over the cases of all folds.

    Their format is that of an evaluation, with a column `fold`; what a further measure says of each fold stands under
    its name and the fold's. The summary also has `mean_ci95`, the 95 % percentile bootstrap interval of the mean over
    cases (10,000 resamples, seeded).

    Args:
        evaluations: fold -> folder of its evaluation.
        output_dir: made if missing.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: if a case is in two folds, which are then not of one split.
    """
    reports = {fold: read_json(folder / "metrics.json") for fold, folder in evaluations.items()}
    rows = [_with_fold(row, fold) for fold, report in reports.items() for row in report["cases"]]
    _check_once(rows)
    measured = [{key: math.inf if value is None else value for key, value in row.items()} for row in rows]
    may_be_absent = {structure for report in reports.values() for structure in report.get("absent", {})}
    summary = summarize(measured, may_be_absent=may_be_absent)
    for structure, metrics in summary.items():
        own = [row for row in measured if row["structure"] == structure]
        counted = [row for row in own if structure not in may_be_absent or row["voxels_reference"]]
        for metric, numbers in metrics.items():
            numbers["mean_ci95"] = mean_interval([row[metric] for row in counted])
    further = sorted({name for report in reports.values() for name in report} - KNOWN)
    pooled = {
        "folds": sorted(reports),
        "tolerance_mm": next(iter(reports.values()))["tolerance_mm"],
        "summary": summary,
        "pooled": pooled_overlap(measured),
        **({"absent": absent_references(measured, may_be_absent)} if may_be_absent else {}),
        **{name: {f"fold_{k}": report[name] for k, report in reports.items() if name in report} for name in further},
        "cases": rows,
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    _write(output_dir / "metrics.csv", rows)
    for name in further:
        tables = {fold: folder / f"{name}.csv" for fold, folder in evaluations.items()}
        _write(output_dir / f"{name}.csv", [r for k, table in tables.items() for r in _read(table, k)])
    with whole_file(output_dir / "metrics.json") as file:
        file.write_text(json.dumps(pooled, indent=1, allow_nan=False) + "\n")
    return pooled


def mean_interval(values: Sequence[float]) -> list[float] | None:
    """The percentile bootstrap interval of the mean of the finite values; None for fewer than two."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if len(finite) < 2:
        return None
    found = bootstrap(
        (finite,),
        np.mean,
        n_resamples=10_000,
        batch=1_000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def _with_fold(row: Mapping[str, Any], fold: int) -> dict[str, Any]:
    return {"case": row["case"], "fold": fold, **row}


def _check_once(rows: Rows) -> None:
    folds: dict[str, int] = {}
    for row in rows:
        other = folds.setdefault(row["case"], row["fold"])
        if other != row["fold"]:
            raise ValueError(
                f"{row['case']}: validates in fold {other} and in fold {row['fold']}, which are of different splits; "
                "train all folds with the same settings, in another folder (RUN=)"
            )


def _read(table: Path, fold: int) -> Rows:
    if not table.is_file():  # its measure failed, which its evaluation has said
        return []
    with table.open(newline="", **TEXT) as file:
        return [_with_fold(row, fold) for row in csv.DictReader(file)]


def _write(path: Path, rows: Rows) -> None:
    with whole_file(path) as partial, partial.open("w", newline="", **TEXT) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["case", "fold"])
        writer.writeheader()
        writer.writerows(rows)
