"""What `make benchmark-speed` tells a person: the machine, tables, a plot, and what became slower."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.alternatives import ALTERNATIVES
from benchmarks.machine import table
from common.files import whole_file

TOLERANCE = 1.1  # a time that grew by more is called slower
KINDS = {
    "step": "Training step",
    "case": "Whole case",
    "loader": "Training's loader, per item",
    "start": "Start-up to the end of the first step",
}
REFERENCES = {"plain": "of plain", **dict(zip(ALTERNATIVES, ("of DynUNet", "of SegResNet"), strict=True))}
NOTE = """On the CPU the bundles compute in {}, everything else in float32. Seconds are medians. `of`: the bundle's
seconds divided by the other's, below 1 where it is quicker; a star: the other was measured at another commit, in
another run; a dash: not measured, in most cases for want of memory. MiB: the highest resident memory of the process."""
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
    """speed.json, speed.md, speed_summary.md (for the README) and speed.png; whole at any time, while a run goes on."""
    texts = {"speed.json": json.dumps(report, indent=1) + "\n", "speed.md": markdown(report)}
    for name, text in {**texts, "speed_summary.md": summary(report)}.items():
        with whole_file(folder / name) as file:
            file.write_text(text)
    with whole_file(folder / "speed.png") as file:
        _plot(report["rows"], file)


def markdown(report: dict[str, Any]) -> str:
    """The machine, a summary, what the sides are, and a table for each device and kind."""
    text = [summary(report).strip(), LEGEND]
    for device in dict.fromkeys(row["device"] for row in report["rows"]):
        for kind, title in KINDS.items():
            rows = [row for row in report["rows"] if (row["device"], row["kind"]) == (device, kind)]
            own = {_place(row): row for row in rows if row["side"] == "bundle"}
            lines = [_line(row, own.get(_place(row), {})) for row in rows]
            text += [f"## {title}, {device.upper()}\n\n{table(lines)}"] if lines else []
    return "\n\n".join(text) + "\n"


def summary(report: dict[str, Any]) -> str:
    """The machine, and steps and whole cases at the published size: a row for each device and bundle."""
    machine = report["machine"]
    hardware = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    gpu = machine["gpu"] or "none"
    software = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "monai", "numpy") if name in machine)
    commits = ", ".join(dict.fromkeys(row["commit"] for row in report["rows"] if row.get("commit")))
    text = [f"Machine: {hardware}, GPU: {gpu}; {software}; commit {commits or 'unknown'}."]
    text.append(NOTE.format("bfloat16 where it pays" if machine.get("bfloat16") else "float32"))
    if report["quick"]:
        text.append("A quick run of sample networks: its numbers say nothing.")
    for kind in ("step", "case"):
        full = [row for row in report["rows"] if (row["kind"], row["scale"]) == (kind, 1.0)]
        lines = []
        for own in [row for row in full if row["side"] == "bundle"]:
            sides = {row["side"]: row for row in full if _place(row) == _place(own)}
            name = own["bundle"] if own["device"] == "cpu" else f"{own['bundle']}, {own['device']}"
            line = {
                "bundle": name,
                "size": _size(own),
                "s": f"{own['seconds']:.3g}" if "seconds" in own else own["error"],
            }
            line |= {head: _ratio(sides.get(side, {}), own) or "-" for side, head in REFERENCES.items()}
            line |= {"MiB": _memory(own), "plain's MiB": _memory(sides.get("plain", {}))}
            lines.append(line | ({"evaluated": _evaluated(own)} if kind == "case" else {}))
        text += [f"{KINDS[kind]}:\n\n{table(lines)}"] if lines else []
    return "\n\n".join(text) + "\n"


def _line(row: Row, own: Row) -> dict[str, str]:
    """A row as a line of its table, with the bundle's own row at the same place."""
    line = {"bundle": row["bundle"], "size": _size(row), "side": row["side"]}
    if "error" in row:
        return {**line, "s": row["error"].replace("|", "/")}
    line |= {"s": f"{row['seconds']:.3g}", "n": str(len(row["all_seconds"])), "ratio": _ratio(row, own)}
    line |= {"peak MiB": _memory(row) if "peak_mib" in row else ""}
    return line | ({"evaluated": _evaluated(row)} if row["kind"] == "case" else {})


def _place(row: Row) -> tuple:
    return row["device"], row["bundle"], row["kind"], row["scale"]


def _ratio(row: Row, own: Row) -> str:
    star = "" if row.get("commit") == own.get("commit") else "*"
    return f"{row['ratio']:.2f}{star}" if "ratio" in row else ""


def _memory(row: Row) -> str:
    return f"{row['peak_mib']:.0f}" if "peak_mib" in row else "-"


def _size(row: Row) -> str:
    size = " x ".join(map(str, row["size"]))
    return f"{row['input'][0]} of {size}" if "input" in row else size


def _evaluated(row: Row) -> str:
    names = {"points": "point", "patches": "patch"}
    return next((f"{row[name]:,} {one if row[name] == 1 else name}" for name, one in names.items() if name in row), "")


def _plot(rows: list[Row], file: Path) -> None:
    """Seconds over the size of the input: a panel for each kind (down) and bundle (across)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    measured = [row for row in rows if "seconds" in row]
    across = list(dict.fromkeys((row["bundle"], row["device"]) for row in measured))
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in measured)]
    sides = list(dict.fromkeys(row["side"] for row in measured))
    figure = Figure(figsize=(3.2 * max(len(across), 1), 2.8 * max(len(kinds), 1)), layout="constrained")
    axes = figure.subplots(max(len(kinds), 1), max(len(across), 1), squeeze=False)
    panels = [(kind, place) for kind in kinds for place in across]
    for plot, (kind, place) in zip(axes.flat, panels, strict=bool(panels)):
        shown = [row for row in measured if (row["bundle"], row["device"], row["kind"]) == (*place, kind)]
        for color, side in enumerate(sides):
            points = [(math.prod(row["size"]) / 1e6, row["seconds"]) for row in shown if row["side"] == side]
            if points:
                plot.plot(*zip(*points, strict=True), "o-", color=f"C{color}", label=side, markersize=4)
        plot.set(xlabel="million voxels of the input", ylabel="s", xscale="log", yscale="log")
        plot.set_title(f"{', '.join(place)}\n{KINDS[kind]}", fontsize=8)
        sizes = sorted({math.prod(row["size"]) / 1e6 for row in shown})
        plot.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
        plot.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plot.yaxis.set_major_formatter("{x:.3g}")
        plot.minorticks_off()
    lines = {line.get_label(): line for plot in axes.flat for line in plot.get_lines()}
    if lines:
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), fontsize=7)
    figure.savefig(file, dpi=110, format="png")


def slower(report: dict[str, Any], old: dict[str, Any]) -> tuple[list[str], int]:
    """What the bundles need more time for than in an older report, by more than a tenth, or now fail at.

    On the same hardware seconds are compared, else ratios to the ``plain`` side.

    Returns:
        A line for each, and how many measurements both reports have.
    """
    same = all(report["machine"][name] == old["machine"][name] for name in ("cpu", "cores", "gpu"))
    before, now = _times(old["rows"], same=same), _times(report["rows"], same=same)
    unit = "s" if same else "of plain"
    changes = {
        key: f"{before[key]:.3g} to {value:.3g} {unit}"
        for key, value in now.items()
        if key in before and value > TOLERANCE * before[key]
    }
    changes |= {_key(row): row["error"] for row in report["rows"] if "error" in row and _key(row) in before}
    found = [
        f"{KINDS[kind]}, {bundle} x{scale:g}, {side}, {device}: {change}"
        for (device, bundle, kind, scale, _, side), change in changes.items()
    ]
    return found, len(before.keys() & (now.keys() | changes.keys()))


def _times(rows: list[Row], *, same: bool) -> dict[tuple, float]:
    """Seconds of the bundles' own sides; divided by those of ``plain``, where it was measured, if not ``same``."""
    seconds = {_key(row): row["seconds"] for row in rows if "seconds" in row}
    own = {key: value for key, value in seconds.items() if key[-1].startswith("bundle")}
    if same:
        return own
    plain = {key: (*key[:-1], "plain") for key in own}
    return {key: value / seconds[plain[key]] for key, value in own.items() if plain[key] in seconds}


def _key(row: Row) -> tuple:
    return *_place(row), tuple(row["size"]), row["side"]
