"""Validation every few epochs, and always after the last one."""

from __future__ import annotations

import monai.handlers
from ignite.engine import Engine, Events

__all__ = ["ValidationHandler"]


class ValidationHandler(monai.handlers.ValidationHandler):
    """MONAI's handler that also validates the last epoch of a run, whatever the interval.

    The last epoch is the trainer's ``state.max_epochs`` at that moment: federated clients raise it round by round.
    """

    def attach(self, engine: Engine) -> None:
        """Validate at the ends of epochs of the trainer ``engine``."""
        super().attach(engine)
        if self.epoch_level:
            engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self._is_last), self)

    def _is_last(self, engine: Engine, epoch: int) -> bool:
        return epoch == engine.state.max_epochs and epoch % self.interval != 0
