"""How quick every bundle is, beside standard baselines: the command behind `make benchmark-speed`.

Four kinds of measurement, each at three sizes, on the CPU and on CUDA where present, medians of the repeats:

======  ==========================================================================================================
step    a training step
case    a whole case, from its file to the written answer, with untrained weights; points or patches evaluated
loader  an item of the training's loader, from an empty cache, a full one, or without one (``plain``)
start   from the start of a process to the end of its first training step, likewise
======  ==========================================================================================================

Beside the bundle stand ``plain``, its network in float32, contiguous memory and stock operations, and MONAI's
DynUNet (as nnU-Net configures it) and SegResNet with the same patch and batch. Every measurement is a process of its
own, which also gives its peak memory; the sides take turns. Data are phantoms of the published size.

What a run measures takes the place of the same in --output's report; the rest of it stays: a table may be made in
several runs. Ratios between runs of different commits are marked.

Example::

    python -m benchmarks.speed --bundles unet_liver_tumor --kinds step --compare runs/benchmark_speed/speed.json
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternatives import ALTERNATIVES
from benchmarks.bundles import BUNDLES, bundle_names
from benchmarks.machine import describe_machine, listed
from benchmarks.speed.report import Row, slower, write_report
from benchmarks.speed.scenario import Scenario
from benchmarks.speed.worker import SIDES
from common.command_line import run_command

ALL_SIDES = ("bundle", "plain", *ALTERNATIVES)
LIMIT_S = 3600  # of one measurement
LONG_S = 20.0  # what takes longer is measured once


def benchmark(
    bundles: Sequence[str] | str = (),
    kinds: Sequence[str] | str = tuple(SIDES),
    sides: Sequence[str] | str = ALL_SIDES,
    sizes: Sequence[float] | float = (0.5, 0.75, 1.0),
    repeats: int = 3,
    quick: bool = False,
    compare: Path | None = None,
    output: Path = Path("runs/benchmark_speed"),
) -> None:
    """Measure, and write speed.json, speed.md, speed_summary.md and speed.png.

    Args:
        bundles: names of folders in bundles/; default all.
        kinds: of step, case, loader and start.
        sides: of bundle (with a cache, both its states), plain, dynunet and segresnet.
        sizes: factors of the published sides, of cases, patches and grids alike.
        repeats: of every measurement of up to 20 s; the median counts.
        quick: sample networks on small phantoms, one size, once: to see that all works; numbers say nothing.
        compare: speed.json of another run: says what of this one is slower, and ends with exit code 1 if anything is.
        output: folder of the report.
    """
    for option, given, known in (("kinds", kinds, tuple(SIDES)), ("sides", sides, ALL_SIDES)):
        unknown = [name for name in listed(given) if name not in known]
        if unknown:
            raise SystemExit(f"--{option} {unknown[0]}: there is none; choose from {', '.join(known)}")
    old = None if compare is None else json.loads(Path(compare).read_text())
    if old is not None and old["quick"] != quick:
        raise SystemExit(f"--compare {compare}: one of the two runs is --quick, the other is not")
    scales, repeats = ([1.0], 1) if quick else (sorted(map(float, listed(sizes))), repeats)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    report, measured = _continued(folder / "speed.json", quick=quick), []
    for left in folder.glob("work_*"):  # by a run that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="work_", dir=folder.resolve()) as work:
        for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            for name in listed(bundles) or bundle_names():
                failed: set[tuple[str, str]] = set()  # what does not fit at a size does not fit at a larger one
                for scale in scales:
                    scenario = Scenario(name, scale, device, work, quick)
                    _run("prepare", "", scenario)
                    for kind in [kind for kind in listed(kinds) if (device, kind) != ("cuda", "loader")]:
                        measured += (rows := measure(kind, scenario, repeats, failed, listed(sides)))
                        report["rows"] = _merged(report["rows"], rows)
                        write_report(report, folder)
    print((folder / "speed.md").read_text())
    print(f"In {folder}: speed.json, speed.md, speed_summary.md, speed.png")
    if old is not None:
        found, compared = slower({**report, "rows": measured}, old)
        if not compared:
            raise SystemExit(f"--compare {compare}: the two runs have no measurement in common")
        print("\n".join(["Slower than before:", *found] if found else [f"Of {compared} times none became slower."]))
        raise SystemExit(1 if found else 0)


def measure(
    kind: str, scenario: Scenario, repeats: int, failed: set[tuple[str, str]], sides: Sequence[str] = ALL_SIDES
) -> list[Row]:
    """The sides of one kind, in ``repeats`` turns; one for what takes more than :data:`LONG_S`.

    Kinds and sides that have ``failed`` are not tried; those that fail are added.

    Returns:
        A row for each side: ``seconds`` (median), ``all_seconds``, ``peak_mib`` (highest), ``commit`` and what the kind
        adds; or ``error``.
    """
    turns: dict[str, list[Row]] = {side: [] for side in SIDES[kind] if side.split(",")[0] in sides}
    errors = {side: "failed at a smaller size" for side in turns if (kind, side) in failed}
    for turn in range(repeats):
        for side in [side for side in turns if side not in errors]:
            if turn and turns[side][0]["seconds"] > LONG_S:
                continue
            result = _run(kind, side, scenario)
            print(f"{scenario.device} {scenario.bundle} x{scenario.scale:g} {kind} {side}: {result}", flush=True)
            if "error" in result:
                errors[side] = result["error"]
                failed.add((kind, side))
            else:
                turns[side].append(result)
    rows = []
    for side, results in turns.items():
        size = scenario.case_size if kind == "case" else scenario.size
        row = {"device": scenario.device, "bundle": scenario.bundle, "scale": scenario.scale, "size": size}
        row |= {"kind": kind, "side": side, "commit": describe_machine()["commit"]}
        if side in errors:
            rows.append({**row, "error": errors[side]})
            continue
        seconds = [result["seconds"] for result in results]
        row |= {**results[-1], "seconds": statistics.median(seconds), "all_seconds": seconds}
        if "peak_mib" in row:
            row["peak_mib"] = max(result["peak_mib"] for result in results)
        rows.append(row)
    return rows


def _continued(file: Path, *, quick: bool) -> dict[str, Any]:
    """The report so far, which must be of this machine and its software; or an empty one."""
    machine = {key: value for key, value in describe_machine().items() if key != "commit"}
    if not file.is_file():
        return {"machine": machine, "quick": quick, "rows": []}
    report = json.loads(file.read_text())
    if (report["machine"], report["quick"]) != (machine, quick):
        raise SystemExit(f"{file} is of another machine, other versions or another --quick; give another --output")
    return report


def _merged(rows: list[Row], new: list[Row]) -> list[Row]:
    """Rows with new ones in place of those that measured the same, in one order whatever came first.

    All get the ``ratio`` of the bundle's seconds to theirs, if both were measured.
    """
    merged = {_what(row): row for row in [*rows, *new]}
    own = {what[:-1]: row["seconds"] for what, row in merged.items() if row["side"] == "bundle" and "seconds" in row}
    for what, row in merged.items():
        row.pop("ratio", None)
        if what[:-1] in own and "seconds" in row:
            row["ratio"] = own[what[:-1]] / row["seconds"]
    return [merged[what] for what in sorted(merged)]


def _what(row: Row) -> tuple:
    kind, side = row["kind"], row["side"]
    return row["device"], row["bundle"], row["scale"], list(SIDES).index(kind), SIDES[kind].index(side)


def _run(kind: str, side: str, scenario: Scenario) -> Row:
    """What a measurement in a process of its own prints, or its ``error``."""
    job = {"kind": kind, "side": side, "scenario": asdict(scenario), "began": time.time()}
    command = [sys.executable, "-m", "benchmarks.speed.worker", json.dumps(job)]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if scenario.device == "cpu" else {})}
    try:
        done = subprocess.run(
            command, cwd=BUNDLES.parent, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {LIMIT_S} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if kind == "prepare":
        raise SystemExit(f"{scenario.bundle} x{scenario.scale:g}: the data could not be prepared:\n{done.stderr}")
    print(done.stderr[-2000:], file=sys.stderr, flush=True)
    reason = (done.stderr.strip() or "?").splitlines()[-1]
    if done.returncode < 0:
        reason = f"killed by signal {-done.returncode}, out of memory?"
    return {"error": "out of memory" if "alloc" in reason or "out of memory" in reason else reason[:300]}


if __name__ == "__main__":
    run_command(benchmark, name="benchmarks.speed")
