"""The networks that `make benchmark-quality` trains, and what each needs beside the data that all have in common.

A bundle's network, loss, optimizer and trainer come from its train.json; below stands what this task changes in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.engines import SupervisedTrainer, Trainer
from monai.inferers import Inferer
from monai.transforms import Lambdad, MapTransform
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.alternatives import ALTERNATIVES, DeepDiceCE
from benchmarks.bundles import training_config
from common.inferers import AutocastInferer
from common.kernels import cuda_amp
from common.transforms import BorderMapd

GRID = (48, 64, 48)  # (z, y, x) voxels of 1 mm: holds every hippocampus of the data set, in multiples of 16
CLASSES = 3  # background, anterior, posterior
FINE = [64, 128, 64]  # voxels of EfficientSegNet's fixed grid, the smallest that its context block takes


def whole(label: Tensor) -> Tensor:
    """The structure as one mask, of the same type."""
    return (label > 0).to(label.dtype)


def mask_of_logit(logits: Tensor) -> Tensor:
    """One logit (1, D, H, W) to a mask of the structure."""
    return (logits > 0).to(torch.uint8)


def classes_of_scores(scores: Tensor) -> Tensor:
    """Scores that exclude each other (3, D, H, W) to a label map (1, D, H, W)."""
    return scores.argmax(0, keepdim=True).to(torch.uint8)


def classes_of_logits(logits: Tensor) -> Tensor:
    """A logit for each of the two classes (2, D, H, W) to a label map (1, D, H, W)."""
    return torch.where(logits.amax(0, keepdim=True) > 0, 1 + logits.argmax(0, keepdim=True), 0).to(torch.uint8)


@dataclass(frozen=True)
class Recipe:
    """How a network takes part."""

    learning_rate: float  # highest one; it rises over the first twentieth of the steps, then falls along a cosine
    answer: Callable[[Tensor], Tensor] = classes_of_scores  # output of a case to a label map (1, D, H, W)
    config: dict[str, Any] = field(default_factory=dict)  # changes of the bundle's train.json, by id
    before: MapTransform | None = None  # transform of the training that follows on the common ones
    prepare: str | None = None  # id in train.json of what follows then
    inferer: str = "train#inferer"  # id there of what segments a whole volume


RECIPES = {
    "vnet_left_atrium": Recipe(5e-3, mask_of_logit, before=Lambdad("label", whole)),
    "unet_liver_tumor": Recipe(1e-3),
    "efficient_seg_net": Recipe(
        4e-3,
        classes_of_logits,
        {
            "network_def#out_channels": CLASSES - 1,
            "fixed_grid": {"_target_": "common.inferers.FixedGridInferer", "size": FINE, "inferer": "@forward"},
        },
        prepare="resize",
        inferer="fixed_grid",
    ),
    "oss_net": Recipe(
        3e-3,
        mask_of_logit,
        {
            "network_def#in_channels": 1,
            "network_def#channels": [32, 64],
            "network_def#low_shape": [side // 8 for side in GRID],
            "working_size": list(GRID),
            "points": 4096,
            "border_fraction": 0.25,
        },
        before=BorderMapd("label", values=[[1, 2]]),
        prepare="sample",
        inferer="validate#inferer",
    ),
    "vox2vox": Recipe(
        2e-3,
        config={
            "network_def#in_channels": 1,
            "network_def#out_channels": CLASSES,
            "network_def#width": 32,  # half of the paper's
            "discriminator_learning_rate": 2e-4,
        },
    ),
    "dynunet": Recipe(1e-3),
    "segresnet": Recipe(4e-3),
}


@dataclass
class Contestant:
    """A network with its trainer, ready for data."""

    recipe: Recipe
    network: nn.Module
    trainer: Trainer  # without data, see give()
    inferer: Inferer  # segments padded volumes (1, 1, *GRID)
    checkpointed: dict[str, Any]  # what else has a state: optimizers, adversary
    preparation: list[Callable] = field(default_factory=list)  # transforms of the training after the common ones

    @property
    def tells_classes(self) -> bool:
        """Whether the network tells anterior from posterior."""
        return self.recipe.answer is not mask_of_logit

    def give(self, loader: DataLoader, *, epochs: int) -> Trainer:
        """The trainer with a loader of what :attr:`preparation` makes, to pass through ``epochs`` times."""
        self.trainer.data_loader = loader
        self.trainer.state.epoch_length, self.trainer.state.max_epochs = len(loader), epochs
        return self.trainer


def contestant(name: str, *, device: str, class_weights: Sequence[float], amp: bool | str = "auto") -> Contestant:
    """Make a network of :data:`RECIPES`.

    Args:
        name: of the bundle or baseline.
        device: where it is trained.
        class_weights: of background, anterior and posterior, for losses that want them.
        amp: see :func:`common.kernels.autocast_dtype`.
    """
    if name not in ALTERNATIVES:
        return _of_bundle(name, torch.device(device), class_weights, amp)
    recipe, network = RECIPES[name], ALTERNATIVES[name](1, CLASSES, GRID).to(device)
    # Not nnU-Net's SGD for the DynUNet: with a momentum of 0.99 few steps do not tell the two classes apart.
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-5)
    inferer = AutocastInferer(amp=amp)
    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=1,
        train_data_loader=[{}],
        network=network,
        optimizer=optimizer,
        loss_function=DeepDiceCE(),
        inferer=inferer,
        amp=cuda_amp(amp, device),
    )
    return Contestant(recipe, network, trainer, inferer, {"optimizer": optimizer})


def _of_bundle(name: str, device: torch.device, class_weights: Sequence[float], amp: bool | str) -> Contestant:
    recipe, parser = RECIPES[name], training_config(name)
    plan = {"grid": FINE, "working_size": list(GRID), "placement": "pad", "class_weights": list(class_weights)}
    parser.update(
        {"device": device, "amp": amp, "learning_rate": recipe.learning_rate, **recipe.config, "recorded": plan}
    )
    train = parser["train"]
    train |= {"dataloader": [{}], "handlers": []}
    for unused in ("postprocessing", "key_train_metric"):
        train["trainer"].pop(unused, None)
    states = {
        k: v.lstrip("@") for k, v in parser["checkpointed"].items() if k not in ("lr_scheduler", "learning_curve")
    }
    preparation = [recipe.before] if recipe.before else []
    preparation += [parser.get_parsed_content(recipe.prepare)] if recipe.prepare else []
    return Contestant(
        recipe,
        *(parser.get_parsed_content(key) for key in ("network", "train#trainer", recipe.inferer)),
        {key: parser.get_parsed_content(value) for key, value in states.items()},
        preparation,
    )
