"""Checkpoints from which a killed run continues as if nothing had happened."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import Evaluator, Trainer
from monai.utils import is_scalar
from torch import nn

from common.checkpoints import import_state_dict, save_atomically, save_weights, start_from, training_states
from common.datasets.stored import fingerprint
from common.files import remove_leftovers
from common.handlers.restoring import base_rates, registered, restore

__all__ = ["TrainingCheckpoint"]

logger = logging.getLogger(__name__)


class TrainingCheckpoint:
    """Save everything the next step depends on at the end of every epoch, keep the best model, resume exactly.

    It saves after all other handlers of the epoch (validation, learning-rate and loss schedules), wherever it stands in
    the list. Files are written under a temporary name and renamed, so a killed run leaves whole files only.

    What a person changed counts on resuming: the number of epochs, learning rates, the batch size, schedules. See
    :func:`common.handlers.restoring.restore`; where nothing was changed, the end is the same in every bit. Where other
    cases are validated, or they are prepared in another way, the best metric so far says nothing: it is forgotten, and
    the first validation replaces the model.

    Args:
        ckpt_dir: folder of ``<name>_epoch=N.pt`` (training state) and ``<name>.pt`` (weights of the best model).
        network: its weights; wrapped in DistributedDataParallel or not, the files are the same.
        objects: name -> anything else with ``state_dict`` and ``load_state_dict``: optimizers, schedulers. Handlers
            with a state of their own (learning curve, loss schedules) need not be named.
        evaluator: its best metric decides which model is the best, and belongs to the state.
        name: stem of the files, ``"model"`` or that of another stage.
        resume: ``True`` continues from the newest whole training state in ``ckpt_dir``, where there is one; ``False``
            starts anew. The training states of an earlier run of this name stay until this run's first one is on the
            disk, its model until this run's first validation, which replaces it even if the metric is no number.
        keep: how many training states to keep.
        init: file or folder of weights to start from (:func:`common.checkpoints.start_from`), as soon as the handler is
            attached, so that a host's own weights replace them; passed over where a training is resumed.

    Raises:
        FileNotFoundError: if there are no such weights to start from.
        ValueError: if ``resume`` is no boolean, or the checkpoint is of a later epoch than the run is to reach, of
            another network, or was trained on cases that are now validated.
    """

    def __init__(
        self,
        ckpt_dir: str | Path,
        network: nn.Module,
        objects: Mapping[str, Any],
        evaluator: Evaluator,
        *,
        name: str = "model",
        resume: bool = False,
        keep: int = 2,
        init: str | Path | None = None,
    ) -> None:
        if not isinstance(resume, bool):
            raise ValueError(f"resume must be True or False (capitalized on the command line), got {resume!r}")
        self.ckpt_dir = Path(ckpt_dir)
        self.network = getattr(network, "module", network)
        self.objects = dict(objects)
        self.evaluator = evaluator
        self.name = name
        self.resume = resume
        self.keep = keep
        self.init = init
        self.rates: dict[str, list[float]] = {}
        self.earlier: list[Path] = []  # training states of an earlier run
        self.data: dict[str, Any] = {}  # what is trained on and validated

    def attach(self, engine: Trainer) -> None:
        if self.init is not None and not (self.resume and self._files()):
            start_from(self.init, self.network, name=self.name)
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Trainer) -> None:
        if idist.get_rank() == 0:
            for names in (f"{self.name}.pt", f"{self.name}_epoch=*.pt"):
                remove_leftovers(self.ckpt_dir, names)
        if engine.state.epoch == 0:  # else the same trainer goes on: a federated client's next round
            self.objects = {**registered(engine), **self.objects}
            self.rates = base_rates(self.objects)
            self.data = {"trained": _cases(engine), "validated": _cases(self.evaluator)}
            self.data["prepared"] = getattr(_dataset(self.evaluator), "transform_hash", None)
            self.data["network"] = fingerprint(self.network)
            self.restore(engine)
        if not engine.has_event_handler(self.save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)  # last, because the run has begun

    def save(self, engine: Trainer) -> None:
        """Write the state of the epoch that just ended, and the model if it is the best so far.

        The model is also written where this training has none yet: its metric was no number in every validation.
        """
        if math.isnan(self.evaluator.state.best_metric):  # nothing is greater: MONAI would keep it for good
            self._forget_best()
        if idist.get_rank() != 0:
            return
        self.ckpt_dir.mkdir(parents=True, exist_ok=True)
        epoch, best = engine.state.epoch, self.ckpt_dir / f"{self.name}.pt"
        validated = self.evaluator.state.epoch == epoch
        has_best = self.evaluator.state.best_metric_epoch > 0
        if self.evaluator.state.best_metric_epoch == epoch or (validated and not (has_best and best.is_file())):
            save_weights(self.network, best)
        if validated and not has_best:
            logger.warning("no validation metric is a number yet: %s holds the weights of epoch %d", best, epoch)
        file = self.ckpt_dir / f"{self.name}_epoch={epoch}.pt"
        save_atomically(self._state(engine), file)
        for old in self.earlier:
            if old != file:
                old.unlink(missing_ok=True)
        self.earlier = []
        for old in self._files()[: -self.keep]:
            old.unlink()

    def restore(self, engine: Trainer) -> None:
        """Load the newest whole checkpoint, or begin anew."""
        files = self._files()
        self.earlier = [] if self.resume else files
        self._forget_best()
        if not self.resume:
            if files:
                logger.warning(
                    "%s and others are of an earlier training: this one's first state replaces them", files[-1]
                )
            return
        for file in reversed(files):
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:  # whatever a broken file makes torch.load raise
                logger.warning("%s cannot be read (%s): trying the one before it", file, error)
                continue
            try:
                self._load(engine, state, file)
            except (AttributeError, LookupError, TypeError, RuntimeError) as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise ValueError(
                    f"{file}: is no training state of this network and configuration ({reason[:200]}); resume with "
                    "those that it was written with, or train in another folder"
                ) from error
            if self.init is not None:
                logger.warning("init=%s is passed over: the training goes on from %s", self.init, file)
            return
        logger.warning("nothing to resume in %s: starting anew", self.ckpt_dir)
        if files and self.init is not None:
            start_from(self.init, self.network, name=self.name)

    def _forget_best(self) -> None:
        self.evaluator.state.best_metric, self.evaluator.state.best_metric_epoch = -1, -1  # as MONAI begins

    def _state(self, engine: Trainer) -> dict[str, Any]:
        best, best_epoch = self.evaluator.state.best_metric, self.evaluator.state.best_metric_epoch
        return {
            "epoch": engine.state.epoch,
            "epoch_length": engine.state.epoch_length,
            "finished": engine.state.epoch == engine.state.max_epochs or bool(engine.should_terminate),
            "best_metric": float(best),
            "best_metric_epoch": int(best_epoch),
            "metrics": {k: float(v) for k, v in self.evaluator.state.metrics.items() if is_scalar(v)},
            "network": self.network.state_dict(),
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else None,
            "rates": self.rates,
            "data": self.data,
            "objects": {key: item.state_dict() for key, item in self.objects.items()},
        }

    def _load(self, engine: Trainer, state: dict[str, Any], file: Path) -> None:
        epoch, length = state["epoch"], engine.state.epoch_length
        if epoch > engine.state.max_epochs:
            last = engine.state.max_epochs
            raise ValueError(f"{file} is of epoch {epoch}, but the run ends at epoch {last}: raise --epochs")
        other = ", ".join(sorted(set(self.objects) ^ set(state["objects"])))
        if other:
            raise ValueError(f"{file} and this run differ in {other}: resume with the configuration of the run")
        comparable = self._is_comparable(engine, state, file)
        remedy = "Resume with the network of the run (its OVERLAYS=), or name another RUN="
        if state.get("data", self.data).get("network", self.data["network"]) != self.data["network"]:
            raise ValueError(f"{file} is of another network, of layers that hold no weights. {remedy}")
        try:
            import_state_dict(state["network"], self.network)
        except ValueError as error:
            raise ValueError(f"{file} is of another network: {error}. {remedy}") from None
        restore(self.objects, state["objects"], engine, epoch=epoch, rates=state.get("rates", {}))
        if engine.scaler is not None and state["scaler"] is not None:
            engine.scaler.load_state_dict(state["scaler"])
        if comparable:
            self.evaluator.state.best_metric = state["best_metric"]
            self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        self.evaluator.state.metrics.update(state.get("metrics", {}))  # schedules ask until the next validation
        engine.state.epoch = epoch
        engine.state.iteration = epoch * length
        logger.info("resumed from %s: %d epochs done, best metric %.4f", file, epoch, state["best_metric"])

    def _is_comparable(self, engine: Trainer, state: dict[str, Any], file: Path) -> bool:
        """Whether the best metric so far was measured on what is validated now.

        Raises:
            ValueError: where cases that were trained on are validated now, none of them is trained on, or no epoch is
                left to replace the model.
        """
        before = state.get("data", self.data)
        if before["trained"] and self.data["trained"] and not set(before["trained"]) & set(self.data["trained"]):
            raise ValueError(
                f"{file} was trained on other data ({before['trained'][0]}, ...): resume with it, or name another RUN="
            )
        moved = sorted(set(before["trained"]) & set(self.data["validated"]) - set(self.data["trained"]))
        if moved:
            raise ValueError(
                f"{file} was trained on what is now validated ({', '.join(moved[:3])}"
                f"{', ...' if len(moved) > 3 else ''}): resume with --fold, --folds, --seed and data as they were, or "
                "start another training (RUN=)"
            )
        self.data["trained"] = sorted({*before["trained"], *self.data["trained"]})
        if before["validated"] != self.data["validated"]:
            changed = "other cases are validated than before"
        elif before["prepared"] != self.data["prepared"]:
            changed = "data is prepared in another way than before"
        else:
            return True
        if state["epoch"] == engine.state.max_epochs:
            raise ValueError(f"{file} is of the last epoch, and {changed}: raise --epochs, or name another RUN=")
        logger.warning("%s: the best metric so far, %.4f, does not count any more", changed, state["best_metric"])
        return False

    def _files(self) -> list[Path]:
        """Training states, oldest first."""
        return training_states(self.ckpt_dir, self.name)


def _dataset(engine: Trainer | Evaluator) -> Any:
    """The data set that an engine's loader draws from, behind a queue of patches too; None without one."""
    dataset = getattr(engine, "data_loader", None)
    while dataset is not None and not hasattr(dataset, "data"):
        dataset = getattr(dataset, "dataset", None)
    return dataset


def _cases(engine: Trainer | Evaluator) -> list[str]:
    """The names of the cases that an engine goes through in all processes; those without a name are left out."""
    items = getattr(_dataset(engine), "data", None) or []
    names = sorted({str(item["case"]) for item in items if isinstance(item, Mapping) and "case" in item})
    if idist.get_world_size() == 1:
        return names
    return sorted({name for part in idist.all_gather({"names": names}) for name in part["names"]})
