"""A killed adversarial training that is resumed equals one that was not killed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.losses import DiceLoss
from monai.networks.utils import one_hot
from monai.utils import set_determinism

from common.engines import AdversarialSegmentationTrainer, Adversary
from common.handlers import EpochSeed, TrainingCheckpoint
from common.networks import Vox2VoxDiscriminator, Vox2VoxGenerator


class Killed(Exception):
    """Stands for the signal that ends a process."""


def train(folder: Path, *, killed_at: int | None = None, resume: bool = False) -> None:
    """Three epochs of three steps with dropout in both networks; all objects are new, as in a new process."""
    set_determinism(0)
    g, d = Vox2VoxGenerator(1, 2, width=2), Vox2VoxDiscriminator(1, 2, variant="tensorflow", width=2)
    optimizer, discriminator_optimizer = (torch.optim.Adam(network.parameters(), lr=0.01) for network in (g, d))
    adversary = Adversary(d, discriminator_optimizer, threshold=0.7)
    images = torch.randn(3, 1, 32, 32, 32)
    loader = DataLoader(Dataset([{"image": x, "label": (x > 0.5).float()} for x in images]), batch_size=1, shuffle=True)
    evaluator = SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=loader, network=g)
    objects = {"optimizer": optimizer, "discriminator_optimizer": discriminator_optimizer, "adversary": adversary}
    trainer = AdversarialSegmentationTrainer(
        adversary=adversary,
        encode=partial(one_hot, num_classes=2),
        device=torch.device("cpu"),
        max_epochs=3,
        train_data_loader=loader,
        network=g,
        optimizer=optimizer,
        loss_function=DiceLoss(),
        train_handlers=[EpochSeed(3), TrainingCheckpoint(folder, g, objects, evaluator, resume=resume)],
    )
    if killed_at is None:
        trainer.run()
        return

    @trainer.on(Events.ITERATION_STARTED(once=killed_at))
    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        trainer.run()


def test_resumed_run_ends_with_the_very_bits_of_an_uninterrupted_one(tmp_path):
    train(tmp_path / "straight")
    train(tmp_path / "killed", killed_at=8)
    train(tmp_path / "killed", resume=True)
    states = [torch.load(tmp_path / name / "model_epoch=3.pt", weights_only=True) for name in ("straight", "killed")]
    assert states[0]["objects"]["adversary"]["steps"] > 0
    assert states[0].pop("data") == states[1].pop("data")  # names, which torch does not compare
    torch.testing.assert_close(*states, rtol=0, atol=0)
