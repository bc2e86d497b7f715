"""The networks that `make benchmark-quality` trains, and what each needs beside the data that all share.

A bundle's network, loss, optimizer and trainer come from its train.json; below stands what another task changes in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.engines import Trainer
from monai.inferers import Inferer
from monai.transforms import Lambdad, MapTransform
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.alternatives import ALTERNATIVES, DeepDiceCE
from common.kernels import cuda_amp
from common.transforms import BorderMapd
from tools.pipeline import BUNDLES

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
    """How a network takes part.

    Args:
        learning_rate: highest one; it rises over the first twentieth of the steps and then falls along a cosine.
        answer: network output of a case to a label map (1, D, H, W): 1 the structure, or 1 and 2 its classes.
        config: changes of the bundle's train.json, by id.
        before: transform of the training that follows on the common ones.
        prepare: id in train.json of what follows then.
        inferer: id there of what segments a whole volume.
    """

    learning_rate: float
    answer: Callable[[Tensor], Tensor] = classes_of_scores
    config: dict[str, Any] = field(default_factory=dict)
    before: MapTransform | None = None
    prepare: str | None = None
    inferer: str = "train#inferer"


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
        before=BorderMapd("label"),
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

# What the alternatives have in place of a bundle's train.json.
STOCK = {
    "train": {
        "inferer": {"_target_": "common.inferers.AutocastInferer", "amp": "@amp"},
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": 1,
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train#inferer",
            "amp": "@engine_amp",
        },
    },
    "checkpointed": {"optimizer": "@optimizer"},
}


class Contestant:
    """A network with its loss, optimizer and trainer, ready for data.

    Args:
        name: one of :data:`RECIPES`.
        device: where it is trained.
        class_weights: of background, anterior and posterior, for losses that want them.
        amp: see :func:`common.kernels.autocast_dtype`.

    Attributes:
        recipe: its entry in :data:`RECIPES`.
        network: on its device.
        inferer: segments padded volumes (1, 1, *GRID).
        checkpointed: name -> what else has a state: optimizers, adversary.
    """

    def __init__(self, name: str, *, device: str, class_weights: Sequence[float], amp: bool | str = "auto") -> None:
        self.recipe = RECIPES[name]
        self._parser = parser = ConfigParser()
        values = {
            "device": torch.device(device),
            "amp": amp,
            "engine_amp": cuda_amp(amp, device),
            "learning_rate": self.recipe.learning_rate,
        }
        if name in ALTERNATIVES:
            network = ALTERNATIVES[name](1, CLASSES, GRID).to(device)
            # Not nnU-Net's SGD for the DynUNet: with a momentum of 0.99 few steps do not tell the two classes apart.
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.recipe.learning_rate, weight_decay=1e-5)
            parser.update({**STOCK, "network": network, "loss": DeepDiceCE(), "optimizer": optimizer, **values})
        else:
            parser.read_config(str(BUNDLES / name / "configs/train.json"))
            plan = {"grid": FINE, "working_size": list(GRID), "placement": "pad", "class_weights": list(class_weights)}
            parser.update({**values, **self.recipe.config, "plan": plan})
        train = parser["train"]
        train["dataloader"], train["handlers"] = [{}], []  # see trainer()
        for unused in ("postprocessing", "key_train_metric"):
            train["trainer"].pop(unused, None)
        self.network: nn.Module = parser.get_parsed_content("network")
        self.inferer: Inferer = parser.get_parsed_content(self.recipe.inferer)
        states = {k: v for k, v in parser["checkpointed"].items() if k not in ("lr_scheduler", "learning_curve")}
        self.checkpointed = {key: parser.get_parsed_content(value.lstrip("@")) for key, value in states.items()}

    @property
    def tells_classes(self) -> bool:
        """Whether the network tells anterior from posterior."""
        return self.recipe.answer is not mask_of_logit

    def preparation(self) -> list[Callable]:
        """Transforms of the training after the common ones."""
        own = self.recipe.prepare
        prepare = None if own is None else self._parser.get_parsed_content(own)
        return [transform for transform in (self.recipe.before, prepare) if transform is not None]

    def trainer(self, loader: DataLoader, *, epochs: int) -> Trainer:
        """The engine of the training, to which handlers may be attached.

        Args:
            loader: gives batches with what :meth:`preparation` makes.
            epochs: passes through the loader.
        """
        engine: Trainer = self._parser.get_parsed_content("train#trainer")
        engine.data_loader = loader
        engine.state.epoch_length, engine.state.max_epochs = len(loader), epochs
        return engine
