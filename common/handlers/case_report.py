"""Metrics of every case on its original grid, against the reference reloaded from its file."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.engines import Evaluator, IterationEvents
from monai.transforms import LoadImage

from common.files import whole_file
from common.handlers.reporting import gather_rows
from common.metrics import case_metrics, summarise
from common.transforms import VolumeReader

__all__ = ["CaseReport"]

logger = logging.getLogger(__name__)

STATISTICS = ("mean", "sd", "median", "min", "max", "n", "n_missed")
REMEDY = "bring it back to the original grid (Invertd), or pair the image with its own label"


class CaseReport:
    """Measure the cases of a MONAI evaluator, and write ``metrics.csv`` and ``metrics.json`` when its epoch completes.

    It works on decollated, postprocessed items: ``pred`` is a label map (1, X, Y, Z) on the original grid, with its
    affine. An error in a case is one of the evaluator's iteration, so :class:`common.engines.CohortEvaluator` records
    it. Every item of the output gains ``reference``, the label map (1, X, Y, Z) on the same grid, and ``metrics``, its
    rows of :func:`common.metrics.case_metrics`, for handlers further down the list. ``engine.state.metrics`` gains
    the means, ``<structure>_<metric>``, and ``val_mean_dice``, the mean over the structures.

    Args:
        output_dir: folder of the two files, made if missing.
        labels: structure name -> its label value, or several that make it up together.
        reference_labels: value in the reference's file -> label value (keys may be text, as in JSON); others stay.
        tolerance_mm: of the normalised surface Dice.

    Raises:
        ValueError: while running, for a case without a reference, or one on another grid than its prediction.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        labels: Mapping[str, int | Sequence[int]],
        reference_labels: Mapping[str | int, int] | None = None,
        tolerance_mm: float = 1.0,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.labels = dict(labels)
        self.reference_labels = {int(k): v for k, v in (reference_labels or {}).items()}
        self.tolerance_mm = tolerance_mm
        self._load = LoadImage(image_only=True, ensure_channel_first=True, dtype=np.int32)
        self._load.register(VolumeReader())
        self._rows: list[dict[str, Any]] = []

    def attach(self, engine: Evaluator) -> None:
        """Measure after postprocessing, report at the end of the epoch."""
        engine.add_event_handler(Events.STARTED, self._rows.clear)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _measure(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            case, prediction = str(item["case"]), output["pred"]
            reference = self._reference(case, item.get("label"))
            _check_grid(case, prediction, reference)
            rows = case_metrics(
                prediction[0],
                reference[0],
                spacing=affine_to_spacing(reference.affine, r=3),
                labels=self.labels,
                tolerance_mm=self.tolerance_mm,
            )
            output["reference"], output["metrics"] = reference, rows
            self._rows += [{"case": case, **row} for row in rows]

    def _reference(self, case: str, path: Any) -> MetaTensor:
        if not isinstance(path, (str, Path)):
            raise ValueError(f"{case}: no path of a reference in 'label', so there is nothing to compare with")
        stored = self._load(path)
        reference = stored.clone()
        for value, label in self.reference_labels.items():
            reference[stored == value] = label
        return reference

    def _report(self, engine: Engine) -> None:
        rows = gather_rows(self._rows, "case", "structure")
        summary = summarise(rows)
        for structure, metrics in summary.items():
            means = {f"{structure}_{metric}": values["mean"] for metric, values in metrics.items()}
            engine.state.metrics.update({name: mean for name, mean in means.items() if mean is not None})
        if summary:
            engine.state.metrics["val_mean_dice"] = float(np.mean([m["dice"]["mean"] for m in summary.values()]))
        if idist.get_rank() == 0:
            self._write(rows, summary)
            _print(summary)

    def _write(self, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        finite = [{k: None if v == math.inf else v for k, v in row.items()} for row in rows]
        with whole_file(self.output_dir / "metrics.json") as file:
            report = {"tolerance_mm": self.tolerance_mm, "summary": summary, "cases": finite}
            file.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        with whole_file(self.output_dir / "metrics.csv") as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(finite[0]) if finite else ["case", "structure"])
            writer.writeheader()
            writer.writerows(finite)


def _check_grid(case: str, prediction: torch.Tensor, reference: MetaTensor) -> None:
    """Raise unless the shapes are equal and no corner of the volumes is a tenth of a voxel away from its like."""
    source = reference.meta["filename_or_obj"]
    if prediction.shape != reference.shape:
        raise ValueError(
            f"{case}: the prediction's shape {tuple(prediction.shape)} is not that of {source}, "
            f"{tuple(reference.shape)}: {REMEDY}"
        )
    if not isinstance(prediction, MetaTensor):
        raise ValueError(f"{case}: the prediction carries no affine, expected that of {source}: keep it a MetaTensor")
    corners = np.array([[*c, 1] for c in product(*((0, n - 1) for n in reference.shape[1:]))])  # (8, 4)
    gap = corners @ (prediction.affine.cpu().double().numpy() - reference.affine.cpu().double().numpy()).T
    worst = np.linalg.norm(gap[:, :3], axis=1).max()
    if not worst < 0.1 * min(affine_to_spacing(reference.affine, r=3)):
        raise ValueError(
            f"{case}: the prediction lies up to {worst:.3g} mm from where {source} does, expected the same affine: "
            f"{REMEDY}"
        )


def _print(summary: dict[str, Any]) -> None:
    for structure, metrics in summary.items():
        logger.info("%-24s" + " %9s" * len(STATISTICS), structure, *STATISTICS)
        for metric, values in metrics.items():
            cells = [_cell(values[name]) for name in STATISTICS]
            logger.info("  %-22s" + " %9s" * len(STATISTICS), metric, *cells)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"
