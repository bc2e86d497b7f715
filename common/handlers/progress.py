"""What a person sees while a run goes on."""

from __future__ import annotations

import logging
import sys

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import Timer
from monai.engines import Evaluator, Trainer

from common.handlers.reporting import report_alone

__all__ = ["CohortProgress", "Progress"]

logger = logging.getLogger(__name__)

BAR = "the progress bar"


class Progress:
    """A progress bar on a terminal, one plain line per epoch elsewhere; says how long the run waits for data.

    Goes after validation in the trainer's handlers. ``engine.state.metrics`` gains ``data_wait_fraction``, the fraction
    of the epoch's training time spent waiting for the loader (0..1).

    Args:
        evaluator: its metrics go into the line.
    """

    def __init__(self, evaluator: Evaluator | None = None) -> None:
        self.evaluator = evaluator
        self._bar = None
        self._loss = self._trained = 0.0
        self._epoch, self._waiting = Timer(), Timer()

    def attach(self, engine: Trainer) -> None:
        # the clocks go first in their event, the line last
        ask, receive = Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED
        self._waiting.attach(engine, start=Events.EPOCH_STARTED, resume=ask, pause=receive)
        self._epoch.attach(engine, start=Events.EPOCH_STARTED)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _start(self, engine: Engine) -> None:
        self._loss = 0.0
        self._waiting.pause()  # until the first batch is asked for
        if sys.stderr.isatty() and idist.get_rank() == 0:
            with report_alone(engine, BAR):
                from tqdm import tqdm

                epochs = f"{engine.state.epoch}/{engine.state.max_epochs}"
                self._bar = tqdm(total=engine.state.epoch_length, desc=f"epoch {epochs}", leave=False)

    def _step(self, engine: Engine) -> None:
        self._trained = self._epoch.value()
        loss = engine.state.output[0]["loss"] if isinstance(engine.state.output, list) else engine.state.output["loss"]
        self._loss += float(loss)
        if self._bar is None:
            return
        with report_alone(engine, BAR):
            self._bar.update()
            self._bar.set_postfix(loss=f"{float(loss):.4f}")

    def _report(self, engine: Engine) -> None:
        if self._bar is not None:
            with report_alone(engine, BAR):
                self._bar.close()
            self._bar = None
        loss = idist.all_reduce(self._loss / engine.state.epoch_length) / idist.get_world_size()
        fraction = self._waiting.value() / max(self._trained, 1e-9)
        engine.state.metrics.update(loss=loss, data_wait_fraction=fraction)
        if idist.get_rank() != 0:
            return
        parts = [f"loss {loss:.4f}"]
        state = self.evaluator.state if self.evaluator is not None else None
        if state is not None and state.epoch == engine.state.epoch and state.metrics:
            parts += [f"{name} {value:.4f}" for name, value in state.metrics.items() if isinstance(value, float)]
            parts.append(f"best {state.best_metric:.4f} (epoch {state.best_metric_epoch})")
        parts.append(f"{self._trained:.1f} s, waited for data {100 * fraction:.0f} %")
        logger.info("epoch %d/%d: %s", engine.state.epoch, engine.state.max_epochs, ", ".join(parts))


class CohortProgress:
    """One line per case of an evaluation or a prediction: which, how many are done, how long it took."""

    def __init__(self) -> None:
        self._timer = Timer()

    def attach(self, engine: Evaluator) -> None:
        self._timer.attach(engine, start=Events.GET_BATCH_STARTED)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._report)

    def _report(self, engine: Engine) -> None:
        done, total = engine.state.iteration, engine.state.epoch_length
        seconds = self._timer.value()
        shard = f" (of one process of {idist.get_world_size()})" if idist.get_world_size() > 1 else ""
        for item in engine.state.batch:
            logger.info("%d/%d%s %s: %.1f s", done, total, shard, item["case"], seconds)
