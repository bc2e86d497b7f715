"""Evaluate and predict whole cohorts: a bad case is recorded, and the others go on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import EnsembleEvaluator, Evaluator, IterationEvents, SupervisedEvaluator
from monai.transforms import apply_transform
from monai.utils.enums import CommonKeys as Keys
from torch.utils.data import Dataset

from common.command_line import describe_error, one_line
from common.costs import Costs, PeakMemory, listening, timed
from common.engines.prefetcher import Aside, Prefetcher
from common.files import files_of
from common.handlers.failures import FailureLog
from common.inferers.finite import check_finite
from common.traces import trace_of

__all__ = ["CohortDataset", "CohortEnsembleEvaluator", "CohortEvaluator"]


class CohortDataset(Dataset):
    """A data set whose broken cases come out as ``{"case", "image", "failure"}`` instead of ending the loader.

    The others gain ``loading_s``, the seconds that the transforms took.

    Args:
        data: cases with ``case`` and ``image``.
        transform: dictionary transforms of one case.
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Callable) -> None:
        self.data = list(data)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        start = time.perf_counter()
        try:
            loaded = apply_transform(self.transform, dict(item))
        except Exception as error:
            failure = {"failure": one_line(error), "trace": trace_of(error)}
            return {"case": item["case"], "image": file_at_fault(error, item), **failure}
        return {**loaded, "loading_s": time.perf_counter() - start}


class _Surviving(Evaluator):
    """What makes an evaluator of MONAI's survive a bad case, and work one case ahead."""

    def __init__(
        self,
        *args: Any,
        failures: FailureLog,
        overlap: bool = True,
        postprocessing: Callable | None = None,
        **kwargs: Any,
    ) -> None:
        if overlap is not True and overlap is not False:
            raise ValueError(f"overlap must be True or False (capitalized on the command line), got {overlap!r}")
        self.memory: PeakMemory | None = None
        self._ahead: Prefetcher | None = None
        self.overlap = overlap
        if postprocessing is not None:
            kwargs["postprocessing"] = _timed("postprocessing", postprocessing)
        handlers = kwargs.pop("val_handlers", None)
        super().__init__(*args, **kwargs)
        self.failures = failures
        failures.attach(self)  # before the reports, which may fail
        if handlers:
            self._register_handlers(handlers)

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
                with Prefetcher(loader, self._predict, device=self.network_device) as self._ahead:
                    self.data_loader = self._ahead
                    super().run(global_epoch)
            finally:
                self.data_loader, self._ahead = loader, None

    def _iteration(self, engine: Evaluator, batchdata: dict[str, Any]) -> Any:
        case = batchdata["case"][0]
        if "failure" in batchdata:
            self.failures.record(case, batchdata["image"][0], batchdata["failure"][0], batchdata["trace"][0])
        else:
            try:
                answer = self._predict(batchdata) if self._ahead is None else self._ahead.take()
                engine.state.output, engine.state.costs = answer
                with listening(engine.state.costs):
                    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                    engine.fire_event(IterationEvents.MODEL_COMPLETED)
                return engine.state.output
            except Exception as error:
                files = getattr(batchdata["image"], "meta", {}).get("filename_or_obj", [""])
                item = {"image": files[0], "label": next(iter(batchdata.get("label", [])), "")}
                self.failures.record(case, file_at_fault(error, item), one_line(error), trace_of(error))
        engine.state.batch, engine.state.output = [], []
        return engine.state.output

    def _predict(self, batchdata: dict[str, Any]) -> tuple[dict[str, Any], Costs | None]:
        """The part of MONAI's iteration in which the network runs; nothing of the engine changes."""
        if "failure" in batchdata:
            return {}, None
        costs = None if self.memory is None else Costs(self.memory)
        if costs is not None and "loading_s" in batchdata:
            costs.seconds["loading"] = float(batchdata["loading_s"][0])
        with listening(costs), timed("inference"):
            answer = super()._iteration(Aside(self), batchdata)
        for key in getattr(self, "pred_keys", (Keys.PRED,)):
            check_finite(answer[key])
        return answer, costs

    @property
    def network_device(self) -> torch.device:
        """Where the network computes; ``state.device`` is where the volumes are put."""
        (network, *_) = getattr(self, "networks", None) or (self.network,)
        return next((p.device for p in network.parameters()), torch.device(self.state.device))


class CohortEvaluator(_Surviving, SupervisedEvaluator):
    """MONAI's evaluator for batches of one case, which survives a case that cannot be read, segmented or written.

    An answer of the network that is not finite is such a case too, whatever the inferer.

    While a case is postprocessed and its handlers run, the network already works on the next one, in a thread of its
    own and on a CUDA stream of its own. Handlers, events and results are those of one case after the other; an error
    belongs to its case, whichever thread it came from.

    Args:
        failures: where such cases are recorded; the run's exit code comes from it.
        overlap: ``False``: the network waits until a case is done, which needs less memory.
        postprocessing: as for :class:`monai.engines.SupervisedEvaluator`.
        kwargs: as for :class:`monai.engines.SupervisedEvaluator`; the loader has ``batch_size`` 1 and, so that
            unreadable files get here, a :class:`CohortDataset`.

    Attributes:
        memory: set by a handler that wants to know what a case costs (:class:`common.handlers.CaseCost`); it finds the
            answer in ``state.costs`` then.
    """


class CohortEnsembleEvaluator(_Surviving, EnsembleEvaluator):
    """:class:`CohortEvaluator` for several networks: MONAI's ``EnsembleEvaluator``, with its ``pred_keys``.

    Args:
        networks: in any number, one after the other for each case; see :func:`common.engines.ensemble_members`.
        failures, overlap, postprocessing: as for :class:`CohortEvaluator`.
        kwargs: as for :class:`monai.engines.EnsembleEvaluator`.
    """


def file_at_fault(error: BaseException, item: Mapping[str, Any]) -> str:
    """The first of the label's and the image's files that the error names, else the image's first."""
    label = item.get("label")
    images = files_of(item["image"])
    files = [str(label), *images] if isinstance(label, str | Path) and str(label) else images
    text = describe_error(error)
    named = (file for file in files if re.search(rf"(?<![\w/.-]){re.escape(file)}(?!\w|\.\w)", text))
    return next(named, images[0])


def _timed(name: str, transform: Callable) -> Callable:
    def staged(data: Any) -> Any:
        with timed(name):
            return transform(data)

    return staged
