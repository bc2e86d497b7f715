"""What each case cost: seconds of every part, and the highest memory."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents

from common.costs import PeakMemory
from common.files import TEXT, whole_file
from common.handlers.reporting import gather_rows, report_alone

__all__ = ["CaseCost"]

logger = logging.getLogger(__name__)

PARTS = ("loading", "inference", "coarse", "coarse_postprocessing", "fine", "postprocessing")


class CaseCost:
    """Write ``costs.csv``, a row for each case, and ``costs.json``, their mean, median and maximum.

    Columns ``<part>_s`` are seconds of the wall clock: ``loading`` in the loader, ``inference`` all that the inferer
    does, of which a :class:`~common.inferers.CoarseToFineInferer` tells ``coarse``, ``coarse_postprocessing`` and
    ``fine`` apart, and ``postprocessing`` with the writing of the file, without metrics and pictures. Parts of
    neighboring cases share the machine where they overlap: for the time of a case on its own set the evaluator's
    ``overlap`` to False and ``num_workers`` to 0. ``peak_memory_mib`` is the highest from the start of the case's
    inference to the end of its postprocessing; ``memory`` in ``costs.json`` says of what
    (:class:`common.costs.PeakMemory`).

    Goes before the handlers that measure or draw. Cases that failed have no row.

    Args:
        output_dir: folder of the files, made if missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        self._rows: list[dict[str, Any]] = []
        self._memory: PeakMemory | None = None

    def attach(self, engine: Engine) -> None:
        """Have a :class:`common.engines.FaultTolerantEvaluator` measure; note each case, report after the epoch."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._note)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _start(self, engine: Engine) -> None:
        self._rows.clear()
        self._memory = PeakMemory(engine.network_device)
        engine.measure_costs(self._memory)

    def _note(self, engine: Engine) -> None:
        costs = engine.state.costs
        costs.memory.update()
        seconds = {f"{name}_s": round(costs.seconds[name], 4) for name in PARTS if name in costs.seconds}
        for item in engine.state.batch:
            self._rows.append({"case": str(item["case"]), **seconds, "peak_memory_mib": round(costs.peak_mib, 1)})

    def _report(self, engine: Engine) -> None:
        rows = gather_rows(self._rows, "case")
        if idist.get_rank() != 0:
            return
        columns = [name for name in (*(f"{s}_s" for s in PARTS), "peak_memory_mib") if any(name in r for r in rows)]
        path = self.output_dir / "costs.csv"
        with (
            report_alone(engine, path),
            whole_file(path) as partial,
            open(partial, "w", newline="", **TEXT) as file,
        ):
            writer = csv.DictWriter(file, fieldnames=["case", *columns])
            writer.writeheader()
            writer.writerows(rows)
        path = self.output_dir / "costs.json"
        with report_alone(engine, path):
            summary = {name: _statistics([row[name] for row in rows if name in row]) for name in columns}
            device = self._memory.device
            report = {
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
                "memory": self._memory.kind,
                "n": len(rows),
                "summary": summary,
            }
            with whole_file(path) as file:
                file.write_text(json.dumps(report, indent=1) + "\n")
            for name, values in summary.items():
                logger.info("%-28s mean %.2f, median %.2f, max %.2f", name, *values.values())


def _statistics(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "median": float(np.median(values)), "max": float(np.max(values))}
