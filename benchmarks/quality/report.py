"""What `make benchmark-quality` tells a person: tables with confidence intervals, paired tests, learning curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap, wilcoxon

from benchmarks.machine import table
from benchmarks.quality.fold import FOLDS
from benchmarks.quality.networks import RECIPES
from common.files import whole_file

Result = dict[str, Any]
METRICS = {"dice": ("Dice", 3), "hd95_mm": ("HD95 mm", 2), "nsd": ("NSD 1 mm", 3)}  # title, digits
STRUCTURES = {"whole": "Whole structure", "anterior": "Anterior", "posterior": "Posterior"}

# Dice of nnU-Net's 3-D U-Net in five-fold cross-validation of the data set's 260 cases, rounded: table 2 of
# Isensee et al., nnU-Net: Self-adapting Framework for U-Net-Based Medical Image Segmentation, arXiv 1809.10486, 2018.
PUBLISHED = {"anterior": "0.90", "posterior": "0.88"}
PUBLISHED_NOTE = (
    "nnU-Net's published figures are those of its 3-D U-Net in five-fold cross-validation, trained far longer "
    "([Isensee et al. 2018](https://arxiv.org/abs/1809.10486), table 2)."
)


def confidence_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval (percentiles) of a mean, cases drawn with replacement; of one case, the case."""
    if len(values) == 1:
        return values[0], values[0]
    found = bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    return float(found.low), float(found.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.minimum(1, factors * np.asarray(p_values)[order]))
    return corrected.tolist()


def paired_tests(results: Sequence[Result], *, against: str, metric: str = "dice") -> list[dict[str, Any]]:
    """Wilcoxon's signed-rank test of every network against one, over the cases that both have, whole structure.

    Returns:
        ``network``, ``n``, ``difference`` (mean), ``low`` and ``high`` (its interval), ``p`` (Holm's) for each other.
    """
    reference, tests = _by_case(results, against, "whole", metric), []
    for name in [name for name in _names(results) if name != against]:
        values = _by_case(results, name, "whole", metric)
        differences = [values[case] - reference[case] for case in sorted(values.keys() & reference.keys())]
        differences = [value for value in differences if math.isfinite(value)]
        if not differences:
            continue
        low, high = confidence_interval(differences)
        test = {"network": name, "n": len(differences), "difference": float(np.mean(differences))}
        p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
        tests.append({**test, "low": low, "high": high, "p": p})
    corrected = holm([test["p"] for test in tests])
    return [{**test, "p": p} for test, p in zip(tests, corrected, strict=True)]


def read_results(folder: Path) -> list[Result]:
    """The result files of a folder, in the order of the networks.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if they are of different budgets, which cannot be compared.
    """
    results = [json.loads(file.read_text()) for file in folder.glob("*_fold*.json")]
    if not results:
        raise FileNotFoundError(f"{folder}: no results of `make benchmark-quality`")
    if any(result["budget"] != results[0]["budget"] for result in results):
        raise ValueError(f"{folder}: results of different budgets, which cannot be compared; give another --output")
    return sorted(results, key=lambda result: (list(RECIPES).index(result["network"]), result["fold"]))


def markdown(results: Sequence[Result]) -> str:
    """Tables of the results of all networks and folds so far."""
    steps, budget = results[0]["steps"], results[0]["budget"]
    machines = "; ".join(dict.fromkeys(_machine(result["machine"]) for result in results))
    commits = ", ".join(dict.fromkeys(result["machine"]["commit"] or "unknown" for result in results))
    folds = sorted({result["fold"] for result in results})
    shown = f"Fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
    text = [
        f"{shown} of {FOLDS}; every network {steps} steps of {budget['batch_size']} cases. {machines}; commit "
        f"{commits}. Means over cases with 95 % bootstrap intervals; a missed structure counts as 0, and is left out "
        "of HD95's mean. Intervals and p values are about the cases; a network was trained once for each fold."
    ]
    found = {row["structure"] for result in results for row in result["rows"]}
    for structure, title in STRUCTURES.items():
        if structure in found:
            text += [f"**{title}**", table(_lines(results, structure))]
        if structure == "whole" and len(folds) > 1:
            text += [f"**{title}, Dice of each fold**", table(_fold_by_fold(results, folds))]
    text += [PUBLISHED_NOTE] if found & PUBLISHED.keys() else []
    names = _names(results)
    if len(names) > 1:
        against = "dynunet" if "dynunet" in names else names[0]
        lines = [
            {
                "network": test["network"],
                "cases": test["n"],
                "difference of Dice": f"{test['difference']:+.4f} ({test['low']:+.4f} to {test['high']:+.4f})",
                "p": f"{test['p']:.2g}",
            }
            for test in paired_tests(results, against=against)
        ]
        text += [f"**Against {against}, whole structure**", "Wilcoxon's signed-rank test, p corrected by Holm."]
        text.append(table(lines))
    return "\n\n".join(text) + "\n"


def plot(results: Sequence[Result], file: Path) -> None:
    """Learning curves over steps and minutes (mean over folds), and the Dice of all cases, as PNG."""
    from matplotlib.figure import Figure

    figure, names = Figure(figsize=(13, 4), layout="constrained"), _names(results)
    steps, minutes, cases = figure.subplots(1, 3)
    for name in names:
        curves = [result["curve"] for result in results if result["network"] == name]
        means = {
            key: np.mean([[point[key] for point in curve] for curve in curves], axis=0)
            for key in ("dice", "step", "minutes")
        }
        steps.plot(means["step"], means["dice"], ".-", label=name)
        minutes.plot(means["minutes"], means["dice"], ".-")
    steps.set(xlabel="steps", ylabel="Dice, some validation cases", ylim=(0, 1))
    minutes.set(xlabel="minutes of training", ylim=(0, 1), xscale="log")
    values = [list(_by_case(results, name, "whole", "dice").values()) for name in names]
    cases.boxplot(values, tick_labels=names, orientation="horizontal")
    cases.set(xlabel="Dice of the cases, whole structure")
    cases.invert_yaxis()  # the first on top, as in the legend
    steps.legend(fontsize=7)
    with whole_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _machine(machine: dict[str, Any]) -> str:
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    return f"{where}, torch {machine['torch']}, MONAI {machine['monai']}"


def _lines(results: Sequence[Result], structure: str) -> list[dict[str, Any]]:
    """A line for each network that was measured on a structure; what it cost beside the whole one."""
    lines = []
    for name in _names(results):
        own = [result for result in results if result["network"] == name]
        rows = [row for result in own for row in result["rows"] if row["structure"] == structure]
        if not rows:
            continue
        line = {"network": name, "cases": len(rows), "missed": sum(row["missed"] for row in rows)}
        for metric, (title, digits) in METRICS.items():
            finite = [row[metric] for row in rows if math.isfinite(row[metric])]
            numbers = (np.mean(finite), *confidence_interval(finite)) if finite else ()
            line[title] = "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*numbers, d=digits) if finite else "-"
        if structure == "whole":
            line["minutes a fold"] = f"{np.mean([result['train_minutes'] for result in own]):.1f}"
            line["parameters"] = f"{own[0]['parameters']:,}"
        lines.append(line)
    if structure in PUBLISHED:
        lines.append({"network": "nnU-Net, published", "cases": 260, "Dice": PUBLISHED[structure]})
    return lines


def _fold_by_fold(results: Sequence[Result], folds: Sequence[int]) -> list[dict[str, str]]:
    lines = []
    for name in _names(results):
        lines.append({"network": name})
        for fold in folds:
            dice = _by_case([r for r in results if r["fold"] == fold], name, "whole", "dice").values()
            lines[-1][f"fold {fold}"] = f"{np.mean([*dice]):.3f}" if dice else "-"
    return lines


def _names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result["network"] for result in results))


def _by_case(results: Sequence[Result], name: str, structure: str, metric: str) -> dict[str, float]:
    rows = [row for result in results if result["network"] == name for row in result["rows"]]
    return {row["case"]: row[metric] for row in rows if row["structure"] == structure}
