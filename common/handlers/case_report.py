"""Metrics of every case on its original grid, against the reference reloaded from its file."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.engines import Evaluator, IterationEvents

from common.files import TEXT, whole_file
from common.handlers.reporting import gather_rows, report_alone
from common.metrics import Measure, absent_references, case_metrics, how_many, pooled_overlap, summarize
from common.transforms import LoadImageAsVolumed
from common.transforms.volumes import grid_faults

__all__ = ["CaseReport"]

logger = logging.getLogger(__name__)

STATISTICS = ("mean", "sd", "median", "min", "max", "n", "n_missed")
REMEDY = "bring it back to the original grid (LabelsOnOriginalGridd), or pair the image with its own label"


class CaseReport:
    """Measure the cases of a MONAI evaluator, and write ``metrics.csv`` and ``metrics.json`` when its epoch completes.

    It works on decollated, postprocessed items: ``pred`` is a label map (1, X, Y, Z) on the original grid, with its
    affine. An error in a case is one of the evaluator's iteration, so that a
    :class:`common.engines.FaultTolerantEvaluator` records it. Every item of the output gains ``reference``, the label
    map (1, X, Y, Z) on the same grid, and ``metrics``, its rows of :func:`common.metrics.case_metrics`, for handlers
    further down the list. ``engine.state.metrics`` gains the means, ``<structure>_<metric>``, and ``val_mean_dice``,
    the mean over the structures.

    Cases that the weights were trained on are marked, and count in no summary but their own, ``summary_trained_on``,
    which is there if there are any; where there are no others, ``summary`` is empty.

    Args:
        output_dir: folder of the files, made if missing.
        labels: structure name -> its label value, or several that make it up together.
        label_values: that a reference's file may hold, as in training; another is an error of its case.
        ignore: the value of voxels that nobody labeled, which count nowhere; it may be in a reference's file too.
        reference_labels: value in the reference's file -> label value (keys may be text, as in JSON); others stay.
        tolerance_mm: of the normalized surface Dice.
        may_be_absent: structures that healthy patients lack: their summary is taken over the cases whose reference
            holds them, and ``metrics.json`` says under ``absent`` what was predicted in the others.
        measures: further questions, each with a table ``<name>.csv`` and a summary under its name in ``metrics.json``.
        trained_on: names of the cases that the weights were trained on.

    Raises:
        ValueError: while running, for a case without a reference, one that
            :class:`common.transforms.LoadImageAsVolumed` refuses, or one on another grid than its prediction. An empty
            one is compared with: patients may be healthy.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        labels: Mapping[str, int | Sequence[int]],
        label_values: Sequence[int],
        ignore: int | None = None,
        reference_labels: Mapping[str | int, int] | None = None,
        tolerance_mm: float = 1.0,
        may_be_absent: Collection[str] = (),
        measures: Sequence[Measure] = (),
        trained_on: Collection[str] = (),
    ) -> None:
        self.output_dir = Path(output_dir)
        self.labels = dict(labels)
        self.reference_labels = {int(k): v for k, v in (reference_labels or {}).items()}
        self.tolerance_mm = tolerance_mm
        self.may_be_absent = tuple(may_be_absent)
        if unknown := set(self.may_be_absent) - set(self.labels):
            raise ValueError(
                f"may_be_absent names {sorted(unknown)}, which are not among the labels {list(self.labels)}"
            )
        self.measures = tuple(measures)
        self.trained_on = frozenset(trained_on)
        self.ignore = ignore
        self._load = LoadImageAsVolumed("label", label_values=[*label_values, *(() if ignore is None else (ignore,))])
        self._rows: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []  # per case: the rows of every measure

    def attach(self, engine: Evaluator) -> None:
        """Measure after postprocessing, report at the end of the epoch."""
        engine.add_event_handler(Events.STARTED, self._rows.clear)
        engine.add_event_handler(Events.STARTED, self._answers.clear)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _measure(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            case, prediction = str(item["case"]), output["pred"]
            reference, unknown = self._reference(case, item.get("label"))
            _check_grid(case, prediction, reference)
            if unknown is not None:
                prediction = prediction.masked_fill(unknown.to(prediction.device), 0)
            spacing = affine_to_spacing(reference.affine, r=3)
            rows = case_metrics(
                prediction[0],
                reference[0],
                spacing=spacing,
                labels=self.labels,
                tolerance_mm=self.tolerance_mm,
            )
            answers = {m.name: m.per_case(prediction[0], reference[0], spacing=spacing) for m in self.measures}
            output["reference"], output["metrics"] = reference, rows
            self._rows += [{"case": case, "trained_on": case in self.trained_on, **row} for row in rows]
            self._answers.append({"case": case, "rows": answers})

    def _reference(self, case: str, path: Any) -> tuple[MetaTensor, torch.Tensor | None]:
        """The reference's label map, and where nobody labeled it, if anywhere: there it is 0."""
        if not isinstance(path, (str, Path)):
            raise ValueError(f"{case}: no path of a reference in 'label', so there is nothing to compare with")
        stored = self._load({"label": path})["label"].to(torch.int32)
        reference = stored.clone()
        for value, label in self.reference_labels.items():
            reference[stored == value] = label
        if self.ignore is None:
            return reference, None
        unknown = torch.Tensor.as_subclass(stored == self.ignore, torch.Tensor)
        return reference.masked_fill(unknown, 0), unknown

    def _report(self, engine: Engine) -> None:
        rows = gather_rows(self._rows, "case", "structure")
        answers = gather_rows(self._answers, "case")
        if idist.get_rank() == 0:
            _write_table(engine, self.output_dir / "metrics.csv", rows, ["case", "structure"])
        path = self.output_dir / "metrics.json"
        with report_alone(engine, path):
            seen, unseen = ([row for row in rows if row["trained_on"] is value] for value in (True, False))
            summary = summarize(unseen, may_be_absent=self.may_be_absent)
            for structure, metrics in summary.items():
                means = {f"{structure}_{metric}": values["mean"] for metric, values in metrics.items()}
                engine.state.metrics.update({name: mean for name, mean in means.items() if mean is not None})
            dice = [mean for metrics in summary.values() if (mean := metrics["dice"]["mean"]) is not None]
            if dice:
                engine.state.metrics["val_mean_dice"] = float(np.mean(dice))
            if idist.get_rank() == 0:
                further = self._further(engine, unseen, answers)
                of_seen = {"summary_trained_on": summarize(seen, may_be_absent=self.may_be_absent)} if seen else {}
                _print(summary, how_many(rows, trained_on=False) if seen else "")
                _print_items("", further)
                _print(of_seen.get("summary_trained_on", {}), how_many(rows, trained_on=True))
                report = {"tolerance_mm": self.tolerance_mm, "summary": summary, **of_seen, **further, "cases": rows}
                with whole_file(path) as file:
                    file.write_text(json.dumps(_finite(report), indent=1, allow_nan=False) + "\n")

    def _further(self, engine: Engine, rows: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, Any]:
        """What stands in ``metrics.json`` beside the statistics of these rows; writes the measures' tables of all."""
        further: dict[str, Any] = {"pooled": pooled_overlap(rows)}
        cases = {row["case"] for row in rows}
        if self.may_be_absent:
            further["absent"] = absent_references(rows, self.may_be_absent)
        for measure in self.measures:
            path = self.output_dir / f"{measure.name}.csv"
            with report_alone(engine, path):
                table = [{"case": a["case"], **row} for a in answers for row in a["rows"][measure.name]]
                _write_table(engine, path, table, ["case"])
                further[measure.name] = measure.summary([row for row in table if row["case"] in cases])
        return further


def _write_table(engine: Engine, path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """``columns`` head a table without rows."""
    with (
        report_alone(engine, path),
        whole_file(path) as partial,
        open(partial, "w", newline="", **TEXT) as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else columns)
        writer.writeheader()
        writer.writerows(_finite(rows))


def _finite(value: Any) -> Any:
    """The same with None for every number that is none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_grid(case: str, prediction: torch.Tensor, reference: MetaTensor) -> None:
    """Raise unless both lie on one grid."""
    source = reference.meta["filename_or_obj"]
    if not isinstance(prediction, MetaTensor):
        raise ValueError(f"{case}: the prediction carries no affine, expected that of {source}: keep it a MetaTensor")
    on_grids = ((volume.shape[1:], volume.affine.cpu().double().numpy()) for volume in (prediction, reference))
    faults = grid_faults(*on_grids, like=source)
    if faults:
        raise ValueError(f"{case}: the prediction's {faults[0]}: {REMEDY}")


def _print(summary: dict[str, Any], heading: str) -> None:
    if heading:
        logger.info("%s", heading)
    for structure, metrics in summary.items():
        logger.info("%-28s" + " %9s" * len(STATISTICS), structure, *STATISTICS)
        for metric, values in metrics.items():
            cells = [_cell(values[name]) for name in STATISTICS]
            logger.info("  %-26s" + " %9s" * len(STATISTICS), metric, *cells)


def _print_items(name: str, items: dict[str, Any]) -> None:
    """A line for each group of numbers, headed by where it stands."""
    numbers = {key: value for key, value in items.items() if not isinstance(value, dict)}
    if numbers:
        logger.info("%s: %s", name, ", ".join(f"{key} {_cell(value)}" for key, value in numbers.items()))
    for key, value in items.items():
        if isinstance(value, dict):
            _print_items(f"{name} {key}".strip(), value)


def _cell(value: float | int | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int | str):
        return str(value)
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"
