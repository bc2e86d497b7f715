"""What `make benchmark-quality` tells a person: tables with confidence intervals, paired tests, learning curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.fold import FOLDS
from benchmarks.quality.networks import RECIPES
from common.files import whole_file

Result = dict[str, Any]
METRICS = {"dice": "Dice", "hd95_mm": "HD95 mm", "nsd": "NSD 1 mm"}
STRUCTURES = {"whole": "Whole structure", "anterior": "Anterior", "posterior": "Posterior"}
RESAMPLES = 5000

# Dice of nnU-Net's 3-D U-Net in five-fold cross-validation of the data set's 260 cases, rounded: table 2 of
# Isensee et al., nnU-Net: Self-adapting Framework for U-Net-Based Medical Image Segmentation, arXiv 1809.10486, 2018.
PUBLISHED = {"anterior": "0.90", "posterior": "0.88"}


def confidence_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval (percentiles) of a mean, cases drawn with replacement.

    Args:
        values: one for each case, finite.
        seed: of the draws.
    """
    sample = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(0, len(sample), (RESAMPLES, len(sample)))
    low, high = np.percentile(sample[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[k]))
        corrected[k] = highest
    return corrected


def paired_tests(results: Sequence[Result], *, against: str, metric: str = "dice") -> list[dict[str, Any]]:
    """Wilcoxon's signed-rank test of every network against one, over the cases that both have, whole structure.

    Args:
        results: of all networks and folds.
        against: name of the network to compare with.
        metric: of the rows.

    Returns:
        ``network``, ``n``, ``difference`` (mean), ``low`` and ``high`` (its interval), ``p`` (Holm's) for each other.
    """
    from scipy.stats import wilcoxon

    values = {name: _by_case(results, name, "whole", metric) for name in _names(results)}
    tests = []
    for name in values:
        cases = sorted(values[name].keys() & values[against].keys())
        pairs = [(values[name][case], values[against][case]) for case in cases]
        differences = [a - b for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        if name == against or not differences:
            continue
        p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
        low, high = confidence_interval(differences)
        mean = float(np.mean(differences))
        tests.append({"network": name, "n": len(differences), "difference": mean, "low": low, "high": high, "p": p})
    for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p"] = p
    return tests


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


def markdown(results: Sequence[Result], *, level: int = 2) -> str:
    """Tables of all results so far.

    Args:
        results: of all networks and folds.
        level: of the headings.
    """
    head = "#" * level
    first = results[0]
    budget = first["budget"]
    machines = dict.fromkeys(_machine(result["machine"]) for result in results)
    commits = dict.fromkeys(result["machine"]["commit"] or "unknown" for result in results)
    folds = sorted({result["fold"] for result in results})
    shown = f"Fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
    text = [
        f"{shown} of {FOLDS}; every network {first['steps']} steps of {budget['batch_size']} cases. "
        f"{'; '.join(machines)}; commit {', '.join(commits)}. Means over cases with 95 % bootstrap intervals; a missed "
        "structure counts as 0, and is left out of HD95's mean. Intervals and p values are about the cases; a network "
        "was trained once for each fold.",
        f"{head} {STRUCTURES['whole']}\n\n{_table(results, 'whole', costs=True)}",
    ]
    if len(folds) > 1:
        text.append(f"{head} {STRUCTURES['whole']}, Dice of each fold\n\n{_fold_by_fold(results, folds)}")
    for structure in ("anterior", "posterior"):
        if any(row["structure"] == structure for result in results for row in result["rows"]):
            text.append(f"{head} {STRUCTURES[structure]}\n\n{_table(results, structure, costs=False)}")
    if any(row["structure"] in PUBLISHED for result in results for row in result["rows"]):
        text.append(
            "nnU-Net's published figures are those of its 3-D U-Net in five-fold cross-validation, trained far longer "
            "([Isensee et al. 2018](https://arxiv.org/abs/1809.10486), table 2)."
        )
    names = _names(results)
    if len(names) > 1:
        against = "dynunet" if "dynunet" in names else names[0]
        lines = [["network", "cases", "difference of Dice", "p"], ["---"] * 4]
        for test in paired_tests(results, against=against):
            change = f"{test['difference']:+.4f} ({test['low']:+.4f} to {test['high']:+.4f})"
            lines.append([test["network"], str(test["n"]), change, f"{test['p']:.2g}"])
        title = f"{head} Against {against}, whole structure\n\nWilcoxon's signed-rank test, p corrected by Holm.\n\n"
        text.append(title + _lines(lines))
    return "\n\n".join(text) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    return f"{where}, torch {machine['torch']}, MONAI {machine['monai']}"


def plot(results: Sequence[Result], file: Path) -> None:
    """Learning curves over steps and minutes (mean over folds), and the Dice of all cases, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    steps, minutes, cases = figure.subplots(1, 3)
    names = _names(results)
    for k, name in enumerate(names):
        curves = [result["curve"] for result in results if result["network"] == name]
        dice, at_step, at_minute = (
            np.mean([[point[key] for point in curve] for curve in curves], axis=0)
            for key in ("dice", "step", "minutes")
        )
        for axes, x in ((steps, at_step), (minutes, at_minute)):
            axes.plot(x, dice, ".-", color=f"C{k}", label=name)
    steps.set(xlabel="steps", ylabel="Dice, some validation cases", ylim=(0, 1))
    minutes.set(xlabel="minutes of training", ylim=(0, 1), xscale="log")
    values = [list(_by_case(results, name, "whole", "dice").values()) for name in names]
    cases.boxplot(values, tick_labels=names, orientation="horizontal")
    cases.set(xlabel="Dice of the cases, whole structure")
    cases.invert_yaxis()  # the first on top, as in the legend
    steps.legend(fontsize=7)
    with whole_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _table(results: Sequence[Result], structure: str, *, costs: bool) -> str:
    head = ["network", "cases", "missed", *METRICS.values(), *(["minutes a fold", "parameters"] if costs else [])]
    lines = [head, ["---"] * len(head)]
    for name in _names(results):
        own = [result for result in results if result["network"] == name]
        rows = [row for result in own for row in result["rows"] if row["structure"] == structure]
        if not rows:
            continue
        cells = [name, str(len(rows)), str(sum(row["missed"] for row in rows))]
        for metric in METRICS:
            finite = [row[metric] for row in rows if math.isfinite(row[metric])]
            if not finite:
                cells.append("-")
                continue
            digits = 2 if metric == "hd95_mm" else 3
            low, high = confidence_interval(finite)
            cells.append(f"{np.mean(finite):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        if costs:
            cells += [f"{np.mean([result['train_minutes'] for result in own]):.1f}", f"{own[0]['parameters']:,}"]
        lines.append(cells)
    if structure in PUBLISHED:
        lines.append(["nnU-Net, published", "260", "", PUBLISHED[structure], "", ""])
    return _lines(lines)


def _fold_by_fold(results: Sequence[Result], folds: Sequence[int]) -> str:
    lines = [["network", *(f"fold {fold}" for fold in folds)], ["---"] * (1 + len(folds))]
    for name in _names(results):
        dice = [_by_case([r for r in results if r["fold"] == fold], name, "whole", "dice") for fold in folds]
        lines.append([name, *(f"{np.mean([*values.values()]):.3f}" if values else "-" for values in dice)])
    return _lines(lines)


def _lines(cells: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result["network"] for result in results))


def _by_case(results: Sequence[Result], name: str, structure: str, metric: str) -> dict[str, float]:
    rows = [row for result in results if result["network"] == name for row in result["rows"]]
    return {row["case"]: row[metric] for row in rows if row["structure"] == structure}
