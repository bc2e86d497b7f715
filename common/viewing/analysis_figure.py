"""The picture of a data set's analysis: six panels on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_analysis"]


def draw_analysis(analysis: dict[str, Any]) -> Figure:
    """Draw extents, volumes, intensities, centroid shifts, axis ratios and components of :func:`analyze`'s result."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), layout="constrained")
    panels = figure.subplots(2, 3)
    cases, bad = analysis["cases"], len(analysis["bad"])
    figure.suptitle(f"{len(cases)} cases" + (f", {bad} more could not be measured" if bad else ""))
    values = list(analysis["summary"]["labels"])
    own = {value: [case["labels"][value] for case in cases if value in case["labels"]] for value in values}

    extents = [[case["extent_mm"][axis] for case in cases] for axis in range(3)]
    panels[0, 0].hist(extents, bins=20, label=list(analysis["summary"]["extent_mm"]))
    _titled(panels[0, 0], "Extent", "mm", "cases")
    _boxes(panels[0, 1], values, [[m["volume_ml"] for m in own[value]] for value in values])
    _titled(panels[0, 1], "Volume of each label", "label", "ml")
    _boxes(panels[0, 2], values, [[m["intensity"][0]["p50"] for m in own[value]] for value in values])
    for position, value in enumerate(values, start=1):
        ends = [[m["intensity"][0][fraction] for m in own[value]] for fraction in ("p5", "p95")]
        panels[0, 2].vlines(position + 0.35, min(ends[0]), max(ends[1]), colors="gray")
    _titled(panels[0, 2], "Cases' medians; gray: lowest p5 to highest p95", "label", "intensity (first channel)")
    for position, value in enumerate(values, start=1):
        z, _, x = zip(*(m["shift_mm"] for m in own[value]), strict=True)
        panels[1, 0].scatter([-right for right in x], z, s=12, label=value)  # as radiologists look: right on the left
        ratios = zip(*(m["axis_ratios"] for m in own[value]), strict=True)
        panels[1, 1].scatter(*ratios, s=12, label=value)
        sizes = [mm3 for m in own[value] for mm3 in m["component_mm3"]]
        panels[1, 2].scatter(sizes, [position] * len(sizes), s=12)
    _titled(panels[1, 0], "Centroids from the volume's middle, from the front", "mm to the left", "mm to the head")
    _titled(panels[1, 1], "Axes of each label", "middle / longest", "shortest / longest")
    _titled(panels[1, 2], "Components; dashed: suggested limits", "mm³", "label")
    for limit in analysis["suggested"]["min_mm3"].values():
        if limit:
            panels[1, 2].axvline(limit, color="gray", linestyle="--")
    panels[1, 2].set_xscale("log")
    panels[1, 2].set_yticks(range(1, len(values) + 1), values)
    panels[0, 0].legend()
    if values:
        panels[1, 0].legend(title="label")
    return figure


def _boxes(panel: Axes, values: list[str], groups: list[list[float]]) -> None:
    if values:
        panel.boxplot(groups, tick_labels=values)


def _titled(panel: Axes, title: str, horizontal: str, vertical: str) -> None:
    panel.set(title=title, xlabel=horizontal, ylabel=vertical)
