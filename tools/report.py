"""What a pipeline tells a person at its end."""

from pathlib import Path

from common.files import read_json
from common.metrics import how_many

COLUMNS = ("mean", "sd", "median", "min", "max", "n", "n_missed")


def metrics_table(metrics: dict) -> str:
    """The summary of an evaluation's metrics.json as a text table: a row per structure and metric.

    Where the weights were trained on some of the cases, these have a table of their own, and a line above each table
    says which cases it is of.

    Args:
        metrics: content of metrics.json, `{"summary": {structure: {metric: {"mean": ..., "sd": ..., ...}}}}`, with
            `summary_trained_on` where there are such cases, and `cases`.

    Returns:
        Lines joined by newlines; a dash stands for a number that does not exist.
    """
    if "summary_trained_on" not in metrics:
        return _table(metrics.get("summary", {}))
    others, seen = (how_many(metrics["cases"], trained_on=value) for value in (False, True))
    tables = [_table(metrics["summary"])] if metrics["summary"] else []
    return "\n".join([others, *tables, "", seen, _table(metrics["summary_trained_on"])])


def _table(summary: dict) -> str:
    rows = [("structure", "metric", *COLUMNS)]
    for structure, by_metric in summary.items():
        for metric, numbers in by_metric.items():
            rows.append((structure, metric, *(_number(numbers.get(column)) for column in COLUMNS)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        texts = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(texts + numbers))
    return "\n".join(lines)


def demonstration_note(models: Path) -> str:
    """A line for weights that were trained on phantoms, as `plan.json` beside them says; otherwise nothing.

    Args:
        models: folder of the weights.
    """
    plan = models / "plan.json"
    if plan.is_file() and read_json(plan).get("demonstration_only"):
        return "These weights were trained on generated phantoms: demonstration only, not for patients.\n"
    return ""


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
