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
from common.files import whole_file

Result = dict[str, Any]
METRICS = {"dice": ("Dice", 3), "hd95_mm": ("HD95 mm", 2), "nsd": ("NSD 1 mm", 3)}  # title, digits
AGAINST = "dynunet"


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


def paired_tests(results: Sequence[Result], *, against: str) -> list[dict[str, Any]]:
    """Wilcoxon's signed-rank test of every network against one: the mean Dice of a case's structures.

    Args:
        results: of one data set.
        against: name of a network among them.

    Returns:
        ``network``, ``n``, ``difference`` (mean), ``low`` and ``high`` (its interval), ``p`` (Holm's) for each other.
    """
    dice = {result["network"]: _mean_dice(result) for result in results}
    reference, tests = dice.pop(against), []
    for name, values in dice.items():
        differences = [values[case] - reference[case] for case in sorted(values.keys() & reference.keys())]
        if not differences:
            continue
        low, high = confidence_interval(differences)
        test = {"network": name, "n": len(differences), "difference": float(np.mean(differences))}
        p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
        tests.append({**test, "low": low, "high": high, "p": p})
    corrected = holm([test["p"] for test in tests])
    return [{**test, "p": p} for test, p in zip(tests, corrected, strict=True)]


def read_results(folder: Path) -> list[Result]:
    """The result files of a folder, by data set, then by network.

    Raises:
        FileNotFoundError: if there are none.
    """
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    if not results:
        raise FileNotFoundError(f"{folder}: no results of `make benchmark-quality`")
    return sorted(results, key=lambda result: (result["data"], result["network"]))


def markdown(results: Sequence[Result]) -> str:
    """Tables of the results of all data sets, networks and folds so far."""
    machines = "; ".join(dict.fromkeys(_machine(result["machine"]) for result in results))
    commits = ", ".join(dict.fromkeys(result["machine"]["commit"] or "unknown" for result in results))
    minutes = ", ".join(dict.fromkeys(f"{result['minutes']:g}" for result in results))
    text = [
        f"{minutes} minutes for each fold of a network, timing and evaluation included. {machines}; commit {commits}. "
        "Means over cases with 95 % bootstrap intervals; a missed structure counts as 0, and is left out of HD95's "
        "mean. Intervals and p values are about the cases; a network was trained once for each fold."
    ]
    for data in dict.fromkeys(result["data"] for result in results):
        own = [result for result in results if result["data"] == data]
        folds = sorted({training["fold"] for result in own for training in result["trainings"]})
        shown = f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
        text += [f"**{data}**, {shown}", table([_training(result) for result in own])]
        for structure in dict.fromkeys(row["structure"] for result in own for row in result["rows"]):
            text += [f"**{data}, {structure}**", table([_line(result, structure) for result in own])]
        if AGAINST in {result["network"] for result in own} and len(own) > 1:
            lines = [
                {
                    "network": test["network"],
                    "cases": test["n"],
                    "difference of Dice": f"{test['difference']:+.4f} ({test['low']:+.4f} to {test['high']:+.4f})",
                    "p": f"{test['p']:.2g}",
                }
                for test in paired_tests(own, against=AGAINST)
            ]
            about = "mean of a case's structures; Wilcoxon's signed-rank test, p corrected by Holm"
            text += [f"**{data}, against {AGAINST}**: {about}", table(lines)]
    return "\n\n".join(text) + "\n"


def plot(results: Sequence[Result], file: Path) -> None:
    """For each data set the validation metric over the training, mean over folds, and all cases' Dice, as PNG."""
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(result["data"] for result in results))
    figure = Figure(figsize=(11, 4 * len(sets)), layout="constrained")
    for (courses, cases), data in zip(figure.subplots(len(sets), 2, squeeze=False), sets, strict=True):
        own = [result for result in results if result["data"] == data]
        for result in own:
            for n, training in enumerate(result["trainings"]):
                epochs, dice = zip(*training["curve"], strict=True)
                done = np.array(epochs) / training["epochs"]
                label = result["network"] if n == 0 else None
                courses.plot(done, dice, ".-", color=f"C{own.index(result)}", label=label, lw=1)
        courses.set(title=data, xlabel="part of the training", ylabel="Dice of validation, network's grid", ylim=(0, 1))
        courses.legend(fontsize=7)
        values = [list(_mean_dice(result).values()) for result in own]
        cases.boxplot(values, tick_labels=[result["network"] for result in own], orientation="horizontal")
        cases.set(xlabel="Dice of the cases, mean of their structures")
        cases.invert_yaxis()  # the first on top, as in the legend
    with whole_file(file) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _machine(machine: dict[str, Any]) -> str:
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    bfloat16 = "with bfloat16" if machine["bfloat16"] else "without bfloat16"
    return f"{where}, {bfloat16}, torch {machine['torch']}, MONAI {machine['monai']}"


def _training(result: Result) -> dict[str, str]:
    """How long a network was trained, and its mean over the structures."""
    trainings, dice = result["trainings"], _mean_dice(result)
    low, high = confidence_interval(list(dice.values()))
    return {
        "network": result["network"],
        "cases": str(len(dice)),
        "Dice, mean of structures": f"{np.mean(list(dice.values())):.3f} ({low:.3f} to {high:.3f})",
        "epochs": ", ".join(str(training["epochs"]) for training in trainings),
        "steps": ", ".join(f"{training['steps']:,}" for training in trainings),
        "parameters": f"{trainings[0]['parameters']:,}",
    }


def _line(result: Result, structure: str) -> dict[str, Any]:
    rows = [row for row in result["rows"] if row["structure"] == structure]
    line = {"network": result["network"], "cases": len(rows), "missed": sum(bool(row["missed"]) for row in rows)}
    for metric, (title, digits) in METRICS.items():
        finite = [row[metric] for row in rows if _is_finite(row[metric])]
        numbers = (np.mean(finite), *confidence_interval(finite)) if finite else ()
        line[title] = "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*numbers, d=digits) if finite else "-"
    return line


def _mean_dice(result: Result) -> dict[str, float]:
    """Case -> mean Dice of its structures."""
    found: dict[str, list[float]] = {}
    for row in result["rows"]:
        found.setdefault(row["case"], []).append(row["dice"])
    return {case: float(np.mean(values)) for case, values in found.items()}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
