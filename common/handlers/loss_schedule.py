"""Schedules of the hybrid loss's alpha, as Ignite handlers that live in the checkpoint.

Both act on the trainer's ``EPOCH_COMPLETED``. In the list of handlers they stand after validation and before the
checkpoint saver, so that a checkpoint holds the alpha of the epoch that comes next.
"""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Engine, Events

from common.handlers.restoring import register
from common.losses import HybridLoss

__all__ = ["DiceThresholdAlphaSchedule", "EpochAlphaSchedule"]


class EpochAlphaSchedule:
    """Lower alpha after every epoch: ``alpha = max(floor, start - step * epoch)`` in the 0-based epoch.

    The defaults give 1.00, 0.99, ..., 0.15 in epoch 85, then constantly 0.15, as in the original V-Net project.

    Args:
        loss: the loss whose ``alpha`` is set; to ``start`` at once.
        start: alpha of epoch 0.
        step: how much less alpha gets after each epoch.
        floor: the least alpha.

    Raises:
        ValueError: unless ``0 <= floor <= start <= 1`` and ``step`` is positive.
    """

    def __init__(self, loss: HybridLoss, *, start: float = 1.0, step: float = 0.01, floor: float = 0.15) -> None:
        self.loss = loss
        self.line = _Line(start, step=step, floor=floor)
        self.epochs = 0  # that have ended
        loss.alpha = start

    def attach(self, engine: Engine) -> None:
        """Act on the trainer ``engine`` at the end of every epoch; the state is part of its checkpoints."""
        register(engine, "alpha_schedule", self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        # Ignite counts epochs from 1: the number of the one that ended is the 0-based number of the next.
        self.epochs = engine.state.epoch
        self.loss.alpha = self.line(self.epochs)

    def state_dict(self) -> dict[str, float]:
        """The alpha of the next epoch, and how many have ended."""
        return {"alpha": self.loss.alpha, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Set the loss's alpha to what this schedule gives after so many epochs."""
        self.epochs = state_dict["epochs"]
        self.loss.alpha = self.line(self.epochs)


class DiceThresholdAlphaSchedule:
    """Keep alpha at ``start`` until the validation Dice reaches a threshold, then lower it after every epoch.

    Once reached, the threshold stays reached: alpha goes on falling although the Dice may drop again. The first lower
    alpha is that of the epoch after the validation.

    Args:
        loss: the loss whose ``alpha`` is set; to ``start`` at once.
        evaluator: the engine that validates; its ``state.metrics[metric]`` is read.
        metric: name of the validation Dice (0 to 1) among the evaluator's metrics.
        threshold: the Dice at which alpha starts to fall.
        start: alpha until then.
        step: how much less alpha gets after each epoch from then on.
        floor: the least alpha.

    Raises:
        ValueError: unless ``0 <= floor <= start <= 1`` and ``step`` is positive.
        KeyError: at the end of an epoch, when the evaluator has metrics, but none of that name.
    """

    def __init__(
        self,
        loss: HybridLoss,
        evaluator: Engine,
        *,
        metric: str,
        threshold: float,
        start: float = 1.0,
        step: float = 0.01,
        floor: float = 0.15,
    ) -> None:
        self.loss = loss
        self.evaluator = evaluator
        self.metric = metric
        self.threshold = threshold
        self.line = _Line(start, step=step, floor=floor)
        self.epochs_since = 0  # epochs that ended with the threshold reached
        self.dice: list[float] = []  # the validation Dice as each epoch ended; minus infinity before the first
        loss.alpha = start

    def attach(self, engine: Engine) -> None:
        """Act on the trainer ``engine`` at the end of every epoch; the state is part of its checkpoints."""
        register(engine, "alpha_schedule", self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self._take(self._validation_dice())

    def state_dict(self) -> dict[str, Any]:
        """The alpha of the next epoch, for how many epochs the threshold has been reached, and the Dice of all."""
        return {"alpha": self.loss.alpha, "epochs_since": self.epochs_since, "dice": list(self.dice)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go through the stored validations once more: the threshold may be another one."""
        self.epochs_since, self.dice = 0, []
        for dice in state_dict["dice"]:
            self._take(dice)

    def _take(self, dice: float) -> None:
        self.dice.append(dice)
        if self.epochs_since or dice >= self.threshold:
            self.epochs_since += 1
            self.loss.alpha = self.line(self.epochs_since)

    def _validation_dice(self) -> float:
        metrics = self.evaluator.state.metrics
        if not metrics:  # no validation yet
            return -math.inf
        if self.metric not in metrics:
            raise KeyError(f"the evaluator has no metric '{self.metric}', only {sorted(metrics)}")
        return float(metrics[self.metric])


class _Line:
    """``max(floor, start - step * n)``, rounded to the nearest decimal, so that 85 steps of 0.01 give 0.15."""

    def __init__(self, start: float, *, step: float, floor: float) -> None:
        if not 0.0 <= floor <= start <= 1.0 or step <= 0.0:
            raise ValueError(
                f"alpha falls from start to floor, 0 <= floor <= start <= 1, by a positive step: "
                f"got start={start}, step={step}, floor={floor}"
            )
        self.start, self.step, self.floor = start, step, floor

    def __call__(self, n: int) -> float:
        return max(self.floor, round(self.start - self.step * n, 12))
