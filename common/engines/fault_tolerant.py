"""Evaluate and predict whole cohorts: a bad case is recorded, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.utils.enums import CommonKeys as Keys

from common.command_line import one_line
from common.costs import Costs, PeakMemory, listening, timed
from common.engines.cohort import file_at_fault
from common.engines.prefetcher import EngineView, Prefetcher
from common.handlers.failures import FailureLog
from common.inferers.finite import check_finite
from common.traces import trace_of

__all__ = ["FaultTolerantEvaluator", "FaultTolerantIteration"]

Batch = dict[str, Any]


class FaultTolerantIteration:
    """An evaluator's iteration that records a case that fails, and returns nothing for it.

    Args:
        predict: what the iteration is to do: batch of one case -> output with the network's answer. It may run in
            another thread, so it leaves the engine as it is.
        failures: where a failed case is recorded; one fails too if the answer is not finite.

    Called with engine and batch, as Ignite does. The batch has ``case`` and ``image``, or also ``failure`` and
    ``trace`` (:class:`~common.engines.CohortDataset`).
    """

    def __init__(self, predict: Callable[[Batch], Batch], failures: FailureLog) -> None:
        self.predict = predict
        self.failures = failures
        self.memory: PeakMemory | None = None  # set where costs are measured
        self._ahead: Prefetcher | None = None

    def __call__(self, engine: SupervisedEvaluator, batch: Batch) -> Any:
        case = batch["case"][0]
        if "failure" in batch:
            self.failures.record(case, batch["image"][0], batch["failure"][0], batch["trace"][0])
        else:
            try:
                answer = self._measured(batch) if self._ahead is None else self._ahead.take()
                engine.state.output, engine.state.costs = answer
                with listening(engine.state.costs):
                    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                    engine.fire_event(IterationEvents.MODEL_COMPLETED)
                return engine.state.output
            except Exception as error:
                files = getattr(batch["image"], "meta", {}).get("filename_or_obj", [""])
                item = {"image": files[0], "label": next(iter(batch.get("label", [])), "")}
                self.failures.record(case, file_at_fault(error, item), one_line(error), trace_of(error))
        engine.state.batch, engine.state.output = [], []
        return engine.state.output

    @contextmanager
    def one_case_ahead(self, loader: Any, device: torch.device) -> Iterator[Prefetcher]:
        """The loader's batches, while a thread predicts the one that follows; see :class:`Prefetcher`.

        Args:
            loader: of the cohort.
            device: of the networks.
        """
        try:
            with Prefetcher(loader, self._measured, device=device) as self._ahead:
                yield self._ahead
        finally:
            self._ahead = None

    def _measured(self, batch: Batch) -> tuple[Batch, Costs | None]:
        """The prediction, checked, and what it cost if that is measured."""
        if "failure" in batch:
            return {}, None
        costs = None if self.memory is None else Costs(self.memory)
        if costs is not None and "loading_s" in batch:
            costs.seconds["loading"] = float(batch["loading_s"][0])
        with listening(costs), timed("inference"):
            answer = self.predict(batch)
        check_finite(answer[Keys.PRED])
        return answer, costs


class FaultTolerantEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for batches of one case, which survives a case that cannot be read, segmented or written.

    An answer of the network that is not finite is such a case too, whatever the inferer.

    While a case is postprocessed and its handlers run, the network already works on the next one, in a thread of its
    own and on a CUDA stream of its own. Handlers, events and results are those of one case after the other; an error
    belongs to its case, whichever thread it came from.

    Args:
        failures: where such cases are recorded; the run's exit code comes from it.
        overlap: ``False``: the network waits until a case is done, which needs less memory.
        postprocessing: as for :class:`monai.engines.SupervisedEvaluator`.
        val_handlers: as for :class:`monai.engines.SupervisedEvaluator`.
        kwargs: as for :class:`monai.engines.SupervisedEvaluator`; the loader has ``batch_size`` 1 and, so that
            unreadable files get here, a :class:`CohortDataset`.

    Raises:
        ValueError: if ``overlap`` is no boolean.
    """

    def __init__(
        self,
        *args: Any,
        failures: FailureLog,
        overlap: bool = True,
        postprocessing: Callable | None = None,
        val_handlers: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if overlap is not True and overlap is not False:
            raise ValueError(f"overlap must be True or False (capitalized on the command line), got {overlap!r}")
        self.iterate = FaultTolerantIteration(self._predict, failures)
        super().__init__(
            *args,
            iteration_update=self.iterate,
            postprocessing=None if postprocessing is None else _timed("postprocessing", postprocessing),
            **kwargs,
        )
        self.overlap = overlap
        self.failures = failures
        failures.attach(self)  # before the reports, which may fail
        if val_handlers:
            self._register_handlers(val_handlers)

    def run(self, global_epoch: int = 1) -> None:
        """Go through the cohort; without a case too, for the report: other processes wait for this one's part in it.

        Args:
            global_epoch: as for :class:`monai.engines.SupervisedEvaluator`.
        """
        if not self.state.epoch_length:
            for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
                self.fire_event(event)
        elif not self.overlap:
            super().run(global_epoch)
        else:
            loader = self.data_loader
            try:
                with self.iterate.one_case_ahead(loader, self.network_device) as self.data_loader:
                    super().run(global_epoch)
            finally:
                self.data_loader = loader

    def measure_costs(self, memory: PeakMemory) -> None:
        """From here on a handler finds what a case cost in ``state.costs``."""
        self.iterate.memory = memory

    @property
    def network_device(self) -> torch.device:
        """Where the network computes; ``state.device`` is where the volumes are put."""
        return next((p.device for p in self.network.parameters()), torch.device(self.state.device))

    def _predict(self, batch: Batch) -> Batch:
        """The part of MONAI's iteration in which the network runs; nothing of the engine changes."""
        return self._iteration(EngineView(self), batch)


def _timed(name: str, transform: Callable) -> Callable:
    def staged(data: Any) -> Any:
        with timed(name):
            return transform(data)

    return staged
