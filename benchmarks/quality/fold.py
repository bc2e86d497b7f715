"""One network on one fold: trained, evaluated, and written into one result file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Timer
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler, MeanDice, ValidationHandler, from_engine
from monai.optimizers import WarmupCosineSchedule
from monai.transforms import (
    Compose,
    Invertd,
    LoadImage,
    NormalizeIntensityd,
    RandAffined,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from torch import Tensor
from torch.utils.data import RandomSampler

from benchmarks.machine import describe_machine
from benchmarks.quality.networks import CLASSES, GRID, Contestant, contestant, whole
from common.datasets import CachedDataset, balanced_class_weights, split
from common.datasets.layouts.decathlon import decathlon_datalist
from common.files import whole_file
from common.handlers import EpochSeed, Progress, TrainingCheckpoint
from common.metrics import case_metrics
from common.transforms import load_on_grid

FOLDS, SEED = 5, 0
STRUCTURES = {"whole": (1, 2), "anterior": 1, "posterior": 2}
ROUNDS = 10  # of training, a look at some validation cases and a checkpoint


@dataclass(frozen=True)
class Budget:
    """What every network may spend; ValueError if the steps cannot be divided into rounds of the same length."""

    steps: int
    batch_size: int = 2
    looked_at: int = 8  # validation cases of the learning curve; all are evaluated in the end
    cases: int | None = None  # of the data set, to try something out; None takes all

    def __post_init__(self) -> None:
        if self.steps > ROUNDS and self.steps % ROUNDS:
            raise ValueError(f"steps must be fewer than {ROUNDS}, or a multiple of it, got {self.steps}")

    def folder(self, name: str, fold: int) -> str:
        """Of the checkpoints: those of another budget are not continued."""
        return "_".join(map(str, (name, fold, *vars(self).values())))


def common_preparation() -> Compose:
    """Load, axes (z, y, x), zero mean and unit standard deviation, zeros around to the common grid."""
    keys = ["image", "label"]
    load = load_on_grid(keys, axcodes="SAR", classes=True).transforms
    return Compose([*load, NormalizeIntensityd("image"), SpatialPadd(keys, GRID)])


def augmentation() -> list[Any]:
    """Position, size, brightness and noise; no mirroring, as the data mixes left and right."""
    place = {"rotate_range": [0.2] * 3, "scale_range": [0.15] * 3, "translate_range": [3] * 3}
    return [
        RandAffined(["image", "label"], prob=0.5, **place, mode=["bilinear", "nearest"], padding_mode="zeros"),
        RandScaleIntensityd("image", prob=0.3, factors=0.2),
        RandShiftIntensityd("image", prob=0.3, offsets=0.2),
        RandGaussianNoised("image", prob=0.3, std=0.1),
    ]


def run_fold(name: str, fold: int, *, dataset_dir: str, folder: Path, budget: Budget, device: str) -> dict[str, Any]:
    """Train a network on the other folds, evaluate it on this one; what was done before is not done again.

    Returns:
        Content of ``<folder>/<name>_fold<fold>.json``: among others ``rows``, of :func:`evaluate`, and ``curve``, the
        points of the :class:`LearningCurve`. Checkpoints to go on from lie in the folder meanwhile.

    Raises:
        ValueError: if the file is of another budget.
    """
    file = folder / f"{name}_fold{fold}.json"
    if file.is_file():
        result = json.loads(file.read_text())
        if result["budget"] != vars(budget):
            raise ValueError(f"{file}: was made with {result['budget']}; remove it, or give another --output")
        return result
    cases = sorted(decathlon_datalist(dataset_dir), key=lambda case: case["case"])[: budget.cases]
    parts = split(cases, fold=fold, folds=FOLDS, seed=SEED)
    prepare, cache = common_preparation(), folder / "cache"
    weights = balanced_class_weights(parts["train"], classes=CLASSES, transform=prepare, cache_dir=cache)
    torch.manual_seed(SEED)
    own = contestant(name, device=device, **weights)
    curve = train(own, parts, budget=budget, cache=cache, state=folder / "state" / budget.folder(name, fold))
    begun = time.perf_counter()
    rows = evaluate(own, CachedDataset(parts["validate"], prepare, cache), prepare)
    result = {
        "network": name,
        "fold": fold,
        "budget": vars(budget),
        "steps": budget.steps,
        "train_minutes": curve[-1]["minutes"],
        "evaluation_minutes": (time.perf_counter() - begun) / 60,
        "parameters": sum(p.numel() for p in own.network.parameters()),
        "learning_rate": own.recipe.learning_rate,
        "machine": describe_machine(),
        "curve": curve,
        "rows": rows,
    }
    with whole_file(file) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n")
    return result


class LearningCurve:
    """A point after every round: ``step``, ``minutes`` of training alone, mean ``loss`` and ``dice``.

    Attach it after validation and :class:`~common.handlers.Progress`, which computes the loss.
    """

    def __init__(self, evaluator: SupervisedEvaluator) -> None:
        self.evaluator = evaluator
        self.points: list[dict[str, float]] = []
        self.timer = Timer()
        self._before = 0.0  # minutes, before the run was resumed

    def attach(self, engine: Engine) -> None:
        """Count from the loading of a batch to the end of its step."""
        self.timer.attach(engine, resume=Events.GET_BATCH_STARTED, pause=Events.ITERATION_COMPLETED)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._note)

    def state_dict(self) -> dict[str, Any]:
        return {"points": list(self.points)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.points = list(state["points"])
        self._before = self.points[-1]["minutes"]

    def _note(self, engine: Engine) -> None:
        minutes = self._before + self.timer.value() / 60
        loss, dice = float(engine.state.metrics["loss"]), float(self.evaluator.state.metrics["dice"])
        self.points.append({"step": engine.state.iteration, "minutes": minutes, "loss": loss, "dice": dice})


def train(
    own: Contestant, parts: dict[str, list[dict]], *, budget: Budget, cache: Path, state: Path
) -> list[dict[str, float]]:
    """Train in rounds, from the last checkpoint in ``state`` if there is one; the same whether or not it was killed.

    Returns:
        The points of the :class:`LearningCurve`.
    """
    prepare = common_preparation()
    data = CachedDataset(parts["train"], Compose([prepare, *augmentation(), *own.preparation]), cache)
    rounds = min(ROUNDS, budget.steps)
    steps = budget.steps // rounds
    sampler = RandomSampler(data, replacement=True, num_samples=steps * budget.batch_size)
    trainer = own.give(DataLoader(data, batch_size=budget.batch_size, sampler=sampler), epochs=rounds)
    looked_at = CachedDataset(parts["validate"][: budget.looked_at], prepare, cache)

    def masks(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "pred": whole(own.recipe.answer(item["pred"])), "label": whole(item["label"])}

    evaluator = SupervisedEvaluator(
        device=trainer.state.device,
        val_data_loader=DataLoader(looked_at, batch_size=1),
        network=own.network,
        inferer=own.inferer,
        postprocessing=masks,
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    total = rounds * steps
    schedule = WarmupCosineSchedule(own.checkpointed["optimizer"], warmup_steps=max(1, total // 20), t_total=total)
    curve = LearningCurve(evaluator)
    objects = {**own.checkpointed, "schedule": schedule, "curve": curve}
    for handler in (
        EpochSeed(SEED, data),
        LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
        ValidationHandler(1, evaluator),
        Progress(evaluator),
        curve,
        TrainingCheckpoint(state, own.network, objects, evaluator, resume=True, keep=1),
    ):
        handler.attach(trainer)
    trainer.run()
    return curve.points


@torch.no_grad()
def evaluate(own: Contestant, cases: Sequence[dict[str, Any]], prepare: Compose) -> list[dict[str, Any]]:
    """Rows of :func:`common.metrics.case_metrics` for prepared cases, on the label's own grid, each with its ``case``.

    ``prepare`` is undone for that.
    """
    own.network.eval()
    device = next(own.network.parameters()).device
    undo = Invertd("pred", prepare, orig_keys="image", nearest_interp=True)
    load = LoadImage(ensure_channel_first=True)
    kinds = STRUCTURES if own.tells_classes else {"whole": STRUCTURES["whole"]}
    rows = []
    for item in cases:
        image: MetaTensor = item["image"]
        output = own.inferer(image[None].as_subclass(Tensor).to(device), own.network)
        answer = own.recipe.answer(output[0].cpu())
        found = undo({"image": image, "pred": MetaTensor(answer.float(), meta=image.meta)})["pred"][0]
        reference = load(item["label"].meta["filename_or_obj"])
        spacing = [float(side) for side in reference.pixdim]
        metrics = case_metrics(found.round(), reference[0], spacing=spacing, labels=kinds)
        rows += [{"case": item["case"], **row} for row in metrics]
    return rows
