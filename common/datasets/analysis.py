"""Look at a data set before training on it: one table, one picture and the numbers that follow from them."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.datasets.analysis_summary import AXES, suggest, summarize_cases
from common.datasets.case_measures import measure_case
from common.datasets.errors import DataError
from common.datasets.layouts.registry import recognize
from common.files import TEXT, whole_file
from common.viewing.analysis_figure import draw_analysis

__all__ = ["analyze", "table"]

logger = logging.getLogger(__name__)


def analyze(
    dataset_dir: str | Path, *, output_dir: str | Path, layout: str = "auto", channels: int = 1
) -> dict[str, Any]:
    """Measure every labeled case, one after the other, and write ``analysis.json``, ``.csv`` and ``.png``.

    A case that cannot be measured is listed with the reason; the others go on.

    Args:
        dataset_dir: the data set's folder.
        layout: how it is laid out, ``"auto"`` or one of :data:`~common.datasets.layouts.registry.LAYOUTS`.
        output_dir: where to write; made if missing.
        channels: of every image.

    Returns:
        What the JSON holds: ``summary`` (see :func:`~common.datasets.analysis_summary.summarize_cases`), ``suggested``
        (see :func:`~common.datasets.analysis_summary.suggest`), ``bad`` (``case`` and ``fault``), and ``cases`` (see
        :func:`~common.datasets.case_measures.measure_case`).

    Raises:
        DataError: for a folder that is not in this layout, or where no case can be measured.
        ValueError: for an unknown layout.
    """
    from tqdm import tqdm

    items = recognize(dataset_dir, layout).cases
    cases, bad = [], []
    with tqdm(items, unit="case", disable=not sys.stderr.isatty()) as bar:
        for number, item in enumerate(bar, start=1):
            try:
                cases.append(measure_case(item, channels=channels))
                said = "measured"
            except (DataError, MemoryError) as error:
                bad.append({"case": item["case"], "fault": str(error) or "out of memory"})
                said = bad[-1]["fault"]
            if bar.disable:
                logger.info("%d of %d: %s %s", number, len(items), item["case"], said)
    if not cases:
        lines = "\n".join(f"  {row['case']}: {row['fault']}" for row in bad)
        raise DataError(f"{dataset_dir}: none of {len(bad)} cases can be measured:\n{lines}")
    analysis = {"summary": summarize_cases(cases), "suggested": suggest(cases), "bad": bad, "cases": cases}
    _write(Path(output_dir), analysis)
    return analysis


def table(analysis: dict[str, Any]) -> str:
    """The analysis as lines of text: the grids, a line for each label, and what follows."""
    summary, suggested = analysis["summary"], analysis["suggested"]

    def by_axis(key: str) -> str:
        return ", ".join(f"{_brief(summary[key][axis])}" for axis in AXES)

    lines = [
        f"{summary['cases']} cases; z, y, x: extent {by_axis('extent_mm')} mm, spacing {by_axis('spacing_mm')} mm",
        "stored axes: " + ", ".join(f"{codes} {count}" for codes, count in summary["stored_axes"].items())
        + f"; oblique by up to {summary['oblique_degrees']['max']:g} degrees",
    ]  # fmt: skip
    rows = [("label", "cases", "missing", "ml", "median intensity", "components", "axis ratios", "keep", "min mm³")]
    for value, own in summary["labels"].items():
        limit = suggested["components"][value]
        ratios = " ".join(f"{own['axis_ratios'][key]['mean']:.2f}" for key in ("middle", "shortest"))
        medians = " ".join(_brief(channel) for channel in own["median_intensity"])
        there, missing, parts = own["volume_ml"]["n"], len(own["missing"]), f"{own['components']['median']:g}"
        limits = (f"{limit['keep']}", f"{limit['min_mm3']:g}")
        rows.append((value, f"{there}", f"{missing}", _brief(own["volume_ml"]), medians, parts, ratios, *limits))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    if suggested["shift"]:
        coarse, fine = suggested["min_mm3"]["coarse"], suggested["min_mm3"]["fine"]
        low, high = suggested["shift"]
        lines.append(
            f"suggested: components above {coarse:g} (coarse) and {fine:g} mm³ (fine), intensity shifts of {low:g} to "
            f"{high:g}"
        )
    return "\n".join(lines)


def _brief(statistics: dict[str, Any]) -> str:
    sd = "" if statistics["sd"] is None else f" ± {statistics['sd']:.3g}"
    return f"{statistics['mean']:.4g}{sd}"


def _write(folder: Path, analysis: dict[str, Any]) -> None:
    with whole_file(folder / "analysis.json") as file:
        file.write_text(json.dumps(analysis, indent=1) + "\n")
    rows = _rows(analysis["cases"])
    with whole_file(folder / "analysis.csv") as path, path.open("w", newline="", **TEXT) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(folder / "analysis.png") as file:
        draw_analysis(analysis).savefig(file, dpi=110)


def _rows(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each label of each case; a case that lacks one has a row of volume 0 for it."""
    values = sorted({value for case in cases for value in case["labels"]}, key=int)
    rows = []
    for case in cases:
        of_case = {"case": case["case"], "stored_axes": case["stored_axes"], "oblique_degrees": case["oblique_degrees"]}
        for key in ("voxels", "spacing_mm", "extent_mm"):
            of_case |= {f"{key}_{axis}": number for axis, number in zip(AXES, case[key], strict=True)}
        for value in values:
            rows.append({**of_case, "label": value, **_of_label(case["labels"].get(value))})
    full = max(rows, key=len, default={})
    return [{key: row.get(key, "") for key in full} for row in rows] or [{"case": case["case"]} for case in cases]


def _of_label(measures: dict[str, Any] | None) -> dict[str, Any]:
    if measures is None:
        return {"volume_ml": 0.0}
    row = {"volume_ml": measures["volume_ml"]}
    for key in ("shift_mm", "shift_from_all_mm"):
        row |= {f"{key}_{axis}": number for axis, number in zip(AXES, measures[key], strict=True)}
    row |= dict(zip(("axis_long_mm", "axis_middle_mm", "axis_short_mm"), measures["axes_mm"], strict=True))
    row |= dict(zip(("axis_ratio_middle", "axis_ratio_shortest"), measures["axis_ratios"], strict=True))
    row |= {"components": measures["components"], "largest_component_mm3": measures["component_mm3"][0]}
    for channel, intensity in enumerate(measures["intensity"]):
        row |= {f"intensity{channel}_{name}": number for name, number in intensity.items()}
    return row
