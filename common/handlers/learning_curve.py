"""The course of a training as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator, Trainer

from common.files import whole_file
from common.handlers.reporting import report_alone
from common.handlers.restoring import register

__all__ = ["LearningCurve"]


class LearningCurve:
    """Draw loss, validation metric and fractions over the epochs, after every validation and at the end.

    In the trainer's handlers it goes after validation and :class:`~common.handlers.Progress`, which computes the
    epoch's loss. Its state is part of the trainer's checkpoints, so that a resumed run shows the whole curve.

    Args:
        output_dir: folder of the picture, made if missing.
        evaluator: the engine that validates; its key metric is drawn.
        fractions: names of the trainer's own metrics, within 0 to 1, that are drawn too: a discriminator's accuracy,
            say.
    """

    def __init__(self, output_dir: str | Path, evaluator: Evaluator, *, fractions: Sequence[str] = ()) -> None:
        self.path = Path(output_dir) / "learning_curve.png"
        self.evaluator = evaluator
        self.fractions: dict[str, dict[int, float]] = {name: {} for name in fractions}  # name -> epoch -> fraction
        self.losses: dict[int, float] = {}  # epoch -> mean loss
        self.metrics: dict[int, float] = {}  # epoch -> key metric

    def attach(self, engine: Trainer) -> None:
        """Note every epoch's numbers at its end."""
        register(engine, "learning_curve", self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._note)
        engine.add_event_handler(Events.COMPLETED, self._draw_alone)

    def state_dict(self) -> dict[str, Any]:
        """All epochs so far."""
        fractions = {name: dict(numbers) for name, numbers in self.fractions.items()}
        return {"losses": dict(self.losses), "metrics": dict(self.metrics), "fractions": fractions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the curve of an earlier run."""
        self.losses, self.metrics = dict(state_dict["losses"]), dict(state_dict["metrics"])
        self.fractions |= {name: dict(numbers) for name, numbers in state_dict.get("fractions", {}).items()}

    def _note(self, engine: Engine) -> None:
        epoch, state = engine.state.epoch, self.evaluator.state
        self.losses[epoch] = float(engine.state.metrics["loss"])
        for name, numbers in self.fractions.items():
            numbers[epoch] = float(engine.state.metrics[name])
        if state.epoch == epoch and state.key_metric_name in state.metrics:
            self.metrics[epoch] = float(state.metrics[state.key_metric_name])
            self._draw_alone(engine)

    def _draw_alone(self, engine: Engine) -> None:
        with report_alone(engine, self.path):
            self.draw()

    def draw(self) -> None:
        """Write the picture of what is known so far; only the first process does."""
        if idist.get_rank() != 0 or not self.losses:
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        left = figure.add_subplot()
        lines = left.plot(
            *zip(*sorted(self.losses.items()), strict=True), ".-", color="tab:blue", label="training loss"
        )
        left.set_xlabel("epoch")
        left.set_ylabel("loss", color="tab:blue")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.grid(alpha=0.3)
        names = [*([self.evaluator.state.key_metric_name] if self.metrics else []), *self.fractions]
        if names:
            right = left.twinx()
            right.set_ylabel(", ".join(names), color="tab:orange")
        for n, (name, numbers) in enumerate(self.fractions.items()):
            lines += right.plot(*zip(*sorted(numbers.items()), strict=True), "--", color=f"C{2 + 2 * n}", label=name)
        if self.metrics:
            lines += right.plot(
                *zip(*sorted(self.metrics.items()), strict=True), "o-", color="tab:orange", label=names[0]
            )
            best = max(self.metrics, key=self.metrics.get)
            lines += right.plot(
                best,
                self.metrics[best],
                "*",
                ms=16,
                color="tab:red",
                label=f"best: {self.metrics[best]:.4f}, epoch {best}",
            )
        figure.legend(
            handles=lines, loc="outside upper center", ncols=len(lines) if len(lines) < 4 else 2, frameon=False
        )
        with whole_file(self.path) as file:
            figure.savefig(file, format="png", dpi=120)
