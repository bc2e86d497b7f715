"""How quick every bundle is, beside what one would take instead: the command behind `make benchmark-speed`.

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
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternatives import ALTERNATIVES
from benchmarks.machine import describe_machine, listed
from benchmarks.speed.report import slower, write_report
from benchmarks.speed.scenario import Scenario
from benchmarks.speed.worker import SIDES
from common.command_line import run_command
from tools.pipeline import BUNDLES

ROOT = BUNDLES.parent
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
    """Measure, and write speed.json, speed.md and speed.png.

    Args:
        bundles: names of folders in bundles/; default all.
        kinds: of step, case, loader and start.
        sides: of bundle (with a cache, both its states), plain, dynunet and segresnet.
        sizes: shares of the published sides, of cases, patches and grids alike.
        repeats: of every measurement of up to 20 s; the median counts.
        quick: sample networks on small phantoms, one size, once: to see that all works; numbers say nothing.
        compare: speed.json of another run: says what of this one is slower, and ends with exit code 1 if anything is.
        output: folder of the report.
    """
    names = listed(bundles) or sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/train.json"))
    for option, given, known in (("kinds", kinds, tuple(SIDES)), ("sides", sides, ALL_SIDES)):
        unknown = [name for name in listed(given) if name not in known]
        if unknown:
            raise SystemExit(f"--{option} {unknown[0]}: there is none; choose from {', '.join(known)}")
    old = None if compare is None else json.loads(Path(compare).read_text())
    if old is not None and old["quick"] != quick:
        raise SystemExit(f"--compare {compare}: one of the two runs is --quick, the other is not")
    shares, repeats = ([1.0], 1) if quick else (sorted(map(float, listed(sizes))), repeats)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    report = _continued(folder / "speed.json", quick=quick)
    measured: list[dict[str, Any]] = []
    for left in folder.glob("work_*"):  # by a run that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="work_", dir=folder) as work:
        for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            for name in names:
                failed: set[tuple[str, str]] = set()  # what does not fit at a size does not fit at a larger one
                for share in shares:
                    scenario = Scenario(name, share, device, str(Path(work).resolve()), quick)
                    _run("prepare", "", scenario)
                    for kind in [kind for kind in listed(kinds) if (device, kind) != ("cuda", "loader")]:
                        rows = measure(kind, scenario, repeats, failed, listed(sides))
                        report["rows"] = _merged(report["rows"], rows)
                        measured += rows
                        write_report(report, folder)
    print((folder / "speed.md").read_text())
    print(f"In {folder}: speed.json, speed.md, speed.png")
    if old is not None:
        found, compared = slower({**report, "rows": measured}, old)
        if not compared:
            raise SystemExit(f"--compare {compare}: the two runs have no measurement in common")
        print("\n".join(["Slower than before:", *found] if found else [f"Of {compared} times none became slower."]))
        raise SystemExit(1 if found else 0)


def measure(
    kind: str, scenario: Scenario, repeats: int, failed: set[tuple[str, str]], sides: Sequence[str] = ALL_SIDES
) -> list[dict[str, Any]]:
    """The sides of one kind, in turn.

    Args:
        kind: of measurement.
        scenario: a bundle at a size.
        repeats: turns; one for what takes more than :data:`LONG_S`.
        failed: kinds and sides that are not tried; those that fail are added.
        sides: those that are wanted, as :func:`benchmark` names them.

    Returns:
        A row for each side: ``seconds`` (median), ``all_seconds``, ``peak_mib`` (highest; not of loaders, who work in
        processes of their own), ``commit`` and what the kind adds; or ``error``.
    """
    commit = describe_machine()["commit"]
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES[kind] if side.split(",")[0] in sides}
    errors = {side: "failed at a smaller size" for side in results if (kind, side) in failed}
    for turn in range(repeats):
        for side in [name for name in results if name not in errors]:
            if turn and results[side][0]["seconds"] > LONG_S:
                continue
            result = _run(kind, side, scenario)
            if "error" in result:
                errors[side] = result["error"]
                failed.add((kind, side))
            else:
                results[side].append(result)
                print(f"{scenario.device} {scenario.bundle} x{scenario.share:g} {kind} {side}: {result}", flush=True)
    rows = []
    for side, turns in results.items():
        row: dict[str, Any] = {
            "device": scenario.device,
            "bundle": scenario.bundle,
            "share": scenario.share,
            "size": scenario.case_size if kind == "case" else scenario.size,
            "kind": kind,
            "side": side,
            "commit": commit,
        }
        if side in errors:
            rows.append({**row, "error": errors[side]})
            continue
        seconds = [turn["seconds"] for turn in turns]
        row |= {**turns[-1], "seconds": statistics.median(seconds), "all_seconds": seconds}
        if "peak_mib" in row:
            row["peak_mib"] = max(turn["peak_mib"] for turn in turns)
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


def _merged(rows: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with new ones in place of those that measured the same, in one order whatever came first.

    All get the ``ratio`` of the bundle's seconds to theirs, if both were measured.
    """
    merged = {_what(row): row for row in [*rows, *new]}
    own = {what[:-1]: row for what, row in merged.items() if row["side"] == "bundle"}
    for what, row in merged.items():
        seconds = own.get(what[:-1], {}).get("seconds")
        row.pop("ratio", None)
        if seconds is not None and "seconds" in row:
            row["ratio"] = seconds / row["seconds"]
    return [merged[what] for what in sorted(merged)]


def _what(row: dict[str, Any]) -> tuple:
    kind, side = row["kind"], row["side"]
    return row["device"], row["bundle"], row["share"], list(SIDES).index(kind), SIDES[kind].index(side)


def _run(kind: str, side: str, scenario: Scenario) -> dict[str, Any]:
    job = {"kind": kind, "side": side, "scenario": scenario.as_dict(), "began": time.time()}
    command = [sys.executable, "-m", "benchmarks.speed.worker", json.dumps(job)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {LIMIT_S} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if kind == "prepare":
        raise SystemExit(f"{scenario.bundle} x{scenario.share:g}: the data could not be prepared:\n{done.stderr}")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = f"killed by signal {-done.returncode}, out of memory?" if done.returncode < 0 else (lines or ["?"])[-1]
    print(
        f"{scenario.bundle} x{scenario.share:g} {kind} {side} failed: {done.stderr[-2000:]}",
        file=sys.stderr,
        flush=True,
    )
    return {"error": "out of memory" if "alloc" in reason or "out of memory" in reason else reason[:300]}


if __name__ == "__main__":
    run_command(benchmark, name="benchmarks.speed")
