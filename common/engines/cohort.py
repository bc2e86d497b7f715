"""Evaluate and predict whole cohorts: a bad case is recorded, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from monai.transforms import apply_transform
from torch.utils.data import Dataset

from common.handlers.failures import FailureLog

__all__ = ["CohortDataset", "CohortEvaluator"]


class CohortDataset(Dataset):
    """A data set whose broken cases come out as ``{"case", "image", "failure"}`` instead of ending the loader.

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
        try:
            return apply_transform(self.transform, dict(item))
        except Exception as error:
            return {"case": item["case"], "image": str(item["image"]), "failure": reason(error)}


class CohortEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for batches of one case, which survives a case that cannot be read, segmented or written.

    Args:
        failures: where such cases are recorded; the run's exit code comes from it.
        kwargs: as for :class:`monai.engines.SupervisedEvaluator`; the loader has ``batch_size`` 1 and, so that
            unreadable files get here, a :class:`CohortDataset`.
    """

    def __init__(self, *args: Any, failures: FailureLog, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failures = failures
        failures.attach(self)

    def run(self, global_epoch: int = 1) -> None:
        """Go through the cohort; without a case too, for the report: other processes wait for this one's part in it.

        Args:
            global_epoch: as for :class:`monai.engines.SupervisedEvaluator`.
        """
        if self.state.epoch_length:
            super().run(global_epoch)
            return
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
            self.fire_event(event)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> Any:
        case = batchdata["case"][0]
        if "failure" in batchdata:
            self.failures.record(case, batchdata["image"][0], batchdata["failure"][0])
        else:
            try:
                return super()._iteration(engine, batchdata)
            except Exception as error:
                files = getattr(batchdata["image"], "meta", {}).get("filename_or_obj", [""])
                self.failures.record(case, files[0], reason(error))
        engine.state.batch, engine.state.output = [], []
        return engine.state.output


def reason(error: BaseException) -> str:
    """The innermost cause in one line: MONAI wraps what a transform raised into an error that names the transform."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
