"""What `make benchmark-speed` tells a person: the machine, a table, a plot, and what became slower."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.alternatives import ALTERNATIVES
from common.files import whole_file

TOLERANCE = 1.1  # what a time may grow by before it is called slower
KINDS = {
    "step": "Training step",
    "case": "Whole case",
    "loader": "Training's loader, per item",
    "start": "Start-up to the end of the first step",
}
REFERENCES = ("plain", *ALTERNATIVES)
LEGEND = """Sides below; `n` is the number of turns, `ratio` the bundle's seconds divided by the side's, with a star
if that was measured at another commit than the bundle, in another run.

- Steps: the bundle; `plain`, the same network, loss and optimizer in a float32 loop of torch's own operations;
  DynUNet (nnU-Net's configuration) and SegResNet in MONAI's trainer, with the same patch and batch.
- Whole cases, from file to file, sizes are the case's: the bundle; `plain`, the same inference in float32 with
  torch's and MONAI's own operations (`Invertd`, argmax); DynUNet and SegResNet with a sliding window of the bundle's
  patch or grid over all of the scan, with MONAI's overlap of a quarter, where a bundle may find the organ first, or
  overlap its windows more.
- Loader and start: `bundle` begins with an empty cache, `plain` has none; what a training finds out about its data
  first (class weights, folds) is given."""
Row = dict[str, Any]


def write_report(report: dict[str, Any], folder: Path) -> None:
    """speed.json, speed.md and speed.png; whole at any time, while a run goes on."""
    with whole_file(folder / "speed.json") as file:
        file.write_text(json.dumps(report, indent=1) + "\n")
    with whole_file(folder / "speed.md") as file:
        file.write_text(markdown(report))
    with whole_file(folder / "speed.png") as file:
        _plot(report["rows"], file)


def markdown(report: dict[str, Any]) -> str:
    """The machine, a summary, what the sides are, and a table for each device and kind."""
    text = [summary(report), LEGEND]
    for device in dict.fromkeys(row["device"] for row in report["rows"]):
        for kind, title in KINDS.items():
            rows = [row for row in report["rows"] if (row["device"], row["kind"]) == (device, kind)]
            if rows:
                text.append(f"## {title}, {device.upper()}\n\n{_table(rows, evaluated=kind == 'case')}")
    return "\n\n".join(text) + "\n"


def summary(report: dict[str, Any]) -> str:
    """The machine, and steps and whole cases at the published size: a row for each device and bundle.

    A dash: that side needed more memory than there was, or time than it was given.
    """
    machine = report["machine"]
    hardware = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, GPU: {machine['gpu'] or 'none'}"
    )
    software = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "monai", "numpy") if name in machine)
    commits = ", ".join(dict.fromkeys(row["commit"] for row in report["rows"] if row.get("commit")))
    text = [f"Machine: {hardware}; {software}; commit {commits or 'unknown'}."]
    number = "bfloat16 where it pays" if machine.get("bfloat16") else "float32"
    text.append(
        f"On the CPU the bundles compute in {number}, everything else in float32. Seconds are medians. `of`: the "
        "bundle's seconds divided by the other's, below 1 where it is quicker; a star: the other was measured at "
        "another commit, in another run; a dash: not measured, in most cases for want of memory. MiB: the highest "
        "resident memory of the process."
    )
    if report["quick"]:
        text.append("A quick run of sample networks: its numbers say nothing.")
    head = ["bundle", "size", "s", "of plain", "of DynUNet", "of SegResNet", "MiB", "plain's MiB", "evaluated"]
    for kind in ("step", "case"):
        width = len(head) if kind == "case" else len(head) - 1
        lines = [head[:width], ["---"] * width]
        full = [row for row in report["rows"] if (row["kind"], row["share"]) == (kind, 1.0)]
        for device, bundle in dict.fromkeys((row["device"], row["bundle"]) for row in full):
            sides = {row["side"]: row for row in full if (row["device"], row["bundle"]) == (device, bundle)}
            if "bundle" not in sides:
                continue
            own, references = sides["bundle"], [sides.get(side, {}) for side in REFERENCES]
            name = bundle if device == "cpu" else f"{bundle}, {device}"
            seconds = f"{own['seconds']:.3g}" if "seconds" in own else own["error"]
            ratios = [_ratio(side, own) or "-" for side in references]
            memory = [f"{side['peak_mib']:.0f}" if "peak_mib" in side else "-" for side in (own, references[0])]
            lines.append([name, _size(own), seconds, *ratios, *memory, _evaluated(own)][:width])
        if len(lines) > 2:
            text.append(f"{KINDS[kind]}:\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(text)


def _table(rows: Sequence[Row], *, evaluated: bool) -> str:
    head = ["bundle", "size", "side", "s", "n", "ratio", "peak MiB", *(["evaluated"] if evaluated else [])]
    lines = [head, ["---"] * len(head)]
    bundles = {_scenario(row): row for row in rows if row["side"] == "bundle"}
    for row in rows:
        size = _size(row)
        if "error" in row:
            lines.append([row["bundle"], size, row["side"], row["error"].replace("|", "/"), *[""] * (len(head) - 4)])
            continue
        ratio = _ratio(row, bundles.get(_scenario(row), {}))
        peak = f"{row['peak_mib']:.0f}" if "peak_mib" in row else ""
        cells = [f"{row['seconds']:.3g}", str(len(row["all_seconds"])), ratio, peak]
        lines.append([row["bundle"], size, row["side"], *cells, *([_evaluated(row)] if evaluated else [])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _scenario(row: Row) -> tuple:
    return row["device"], row["bundle"], row["kind"], row["share"]


def _ratio(row: Row, own: Row) -> str:
    if "ratio" not in row:
        return ""
    return f"{row['ratio']:.2f}{'' if row.get('commit') == own.get('commit') else '*'}"


def _size(row: Row) -> str:
    size = " x ".join(map(str, row["size"]))
    return f"{row['input'][0]} of {size}" if "input" in row else size


def _evaluated(row: Row) -> str:
    names = {"points": "point", "patches": "patch"}
    return next((f"{row[name]:,} {one if row[name] == 1 else name}" for name, one in names.items() if name in row), "")


def _plot(rows: Sequence[Row], file: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

    measured = [row for row in rows if "seconds" in row]
    panels = list(dict.fromkeys((row["device"], row["bundle"]) for row in measured))
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in measured)]
    figure = Figure(figsize=(3.2 * max(len(panels), 1), 2.8 * max(len(kinds), 1)), layout="constrained")
    axes = figure.subplots(max(len(kinds), 1), max(len(panels), 1), squeeze=False)
    sides = list(dict.fromkeys(row["side"] for row in measured))
    for (i, kind), (j, panel) in ((a, b) for a in enumerate(kinds) for b in enumerate(panels)):
        plot = axes[i][j]
        shown = [row for row in measured if (row["device"], row["bundle"], row["kind"]) == (*panel, kind)]
        if not shown:  # not measured yet; nothing cannot be drawn on a logarithmic axis
            plot.set_axis_off()
            continue
        for color, side in enumerate(sides):
            own = [row for row in shown if row["side"] == side]
            voxels = [math.prod(r["size"]) / 1e6 for r in own]
            plot.plot(voxels, [r["seconds"] for r in own], "o-", color=f"C{color}", label=side, markersize=4)
        plot.set(title=f"{panel[1]}, {panel[0]}\n{KINDS[kind]}", xlabel="million voxels of the input", ylabel="s")
        plot.set(xscale="log", yscale="log")
        sizes = sorted({math.prod(row["size"]) / 1e6 for row in shown})
        for axis, locator in ((plot.xaxis, FixedLocator(sizes)), (plot.yaxis, LogLocator(subs=(1, 2, 5)))):
            axis.set_major_locator(locator)
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
        plot.title.set_fontsize(8)
    if measured:
        lines = {line.get_label(): line for plot in axes.flat for line in plot.get_lines()}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), fontsize=7)
    figure.savefig(file, dpi=110, format="png")


def slower(report: dict[str, Any], old: dict[str, Any]) -> tuple[list[str], int]:
    """What the bundles need more time for than in an older report, by more than a tenth, or now fail at.

    On the same hardware seconds are compared, else ratios to the ``plain`` side.

    Returns:
        A line for each, and how many times both reports have.
    """
    hardware = ("cpu", "cores", "gpu")
    same = all(report["machine"][name] == old["machine"][name] for name in hardware)
    before, now = _comparable(old["rows"], same=same), _comparable(report["rows"], same=same)
    unit = "s" if same else "of plain"
    changes = {
        key: f"{before[key]:.3g} to {value:.3g} {unit}"
        for key, value in now.items()
        if key in before and value > TOLERANCE * before[key]
    }
    changes |= {_key(row): row["error"] for row in report["rows"] if "error" in row and _key(row) in before}
    found = [
        f"{KINDS[kind]}, {bundle} x{share:g}, {side}, {device}: {change}"
        for (device, bundle, kind, side, share, _), change in changes.items()
    ]
    return found, len(before.keys() & (now.keys() | changes.keys()))


def _comparable(rows: Sequence[Row], *, same: bool) -> dict[tuple, float]:
    """The bundle's own sides, by what they are."""
    measured = {_key(row): row["seconds"] for row in rows if "seconds" in row}
    own = {key: seconds for key, seconds in measured.items() if key[3].startswith("bundle")}
    if same:
        return own
    plain = {key: measured.get((*key[:3], "plain", *key[4:])) for key in own}
    return {key: seconds / plain[key] for key, seconds in own.items() if plain[key]}


def _key(row: Row) -> tuple:
    return row["device"], row["bundle"], row["kind"], row["side"], row["share"], tuple(row["size"])
