"""What a pipeline tells a person at its end."""

from pathlib import Path

from common.files import read_json
from common.metrics import how_many

INTERVAL = "mean_ci95"
COLUMNS = ("mean", "sd", "median", "min", "max", "n", "n_missed")


def metrics_table(metrics: dict) -> str:
    """The summary of an evaluation's metrics.json as a text table: a row per structure and metric.

    Where the weights were trained on some of the cases, these have a table of their own, and a line above each table
    says which cases it is of.

    Args:
        metrics: content of metrics.json, `{"summary": {structure: {metric: {"mean": ..., "sd": ..., ...}}}}`, with
            `summary_trained_on` where there are such cases, and `cases`.

    Returns:
        Lines joined by newlines; a dash stands for a number that does not exist. Where the summary has confidence
        intervals of means, they are the last column.
    """
    if "summary_trained_on" not in metrics:
        return _table(metrics.get("summary", {}))
    others, seen = (how_many(metrics["cases"], trained_on=value) for value in (False, True))
    tables = [_table(metrics["summary"])] if metrics["summary"] else []
    return "\n".join([others, *tables, "", seen, _table(metrics["summary_trained_on"])])


def _table(summary: dict) -> str:
    has_interval = any(INTERVAL in numbers for by_metric in summary.values() for numbers in by_metric.values())
    columns = (*COLUMNS, INTERVAL) if has_interval else COLUMNS
    rows = [("structure", "metric", *columns)]
    for structure, by_metric in summary.items():
        for metric, numbers in by_metric.items():
            rows.append((structure, metric, *(_number(numbers.get(column)) for column in columns)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        texts = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(texts + numbers))
    return "\n".join(lines)


def demonstration_note(*models: Path) -> str:
    """A line for weights that were trained on phantoms, as `plan.json` beside them says; otherwise nothing.

    Args:
        models: folder of the weights, or those of an ensemble.
    """
    plans = [folder / "plan.json" for folder in models]
    if any(plan.is_file() and read_json(plan).get("demonstration_only") for plan in plans):
        return "These weights were trained on generated phantoms: demonstration only, not for patients.\n"
    return ""


def _number(value: float | int | list[float] | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return "..".join(map(_number, value))
    return str(value) if isinstance(value, int) else f"{value:.3f}"
