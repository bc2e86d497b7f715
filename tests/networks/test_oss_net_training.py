"""OSS-Net in MONAI's stock trainer, with the parts that a bundle puts together."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import PrepareBatchExtraInput, SupervisedTrainer
from monai.handlers import MeanDice, from_engine
from monai.transforms import AsDiscreted, Compose, Lambdad

from common.inferers import AutocastInferer, LowResolutionStart, OccupancyInferer
from common.losses import OccupancyLoss
from common.networks import OSSNet
from common.networks.oss_net.activation import pade_groups
from common.optimizers import LookaheadRAdam
from common.transforms import SamplePointsd

POINTS, LOW, EPOCHS = 256, (2, 2, 2), 30


def ball(side: int = 16, radius: float = 5.0) -> dict[str, torch.Tensor]:
    axes = torch.meshgrid(*(torch.arange(side) - side / 2 + 0.5 for _ in range(3)), indexing="ij")
    label = (sum(a**2 for a in axes) < radius**2).float()[None]
    return {"image": label + 0.2 * torch.randn(1, side, side, side), "label": label}


@pytest.fixture(scope="module")
def trained() -> tuple[SupervisedTrainer, list[float]]:
    """A trainer that has run, and its losses."""
    torch.manual_seed(0)
    network = OSSNet(1, 1, channels=(4, 8), low_shape=LOW, width=16)
    sample = SamplePointsd(points=POINTS, values=[[1]], low_shape=LOW)
    sample.set_random_state(0)
    engine = SupervisedTrainer(
        device="cpu",
        max_epochs=EPOCHS,
        train_data_loader=DataLoader(Dataset([ball() for _ in range(4)], sample), batch_size=2),
        network=network,
        optimizer=LookaheadRAdam(pade_groups(network, learning_rate=0.01), lr=0.01),
        loss_function=OccupancyLoss(POINTS),
        inferer=AutocastInferer(amp=False),
        prepare_batch=PrepareBatchExtraInput("points"),
        postprocessing=Compose(
            [Lambdad(["pred", "label"], lambda x: x[..., :POINTS]), AsDiscreted("pred", threshold=0.0)]
        ),
        key_train_metric={"train_points_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    losses: list[float] = []
    engine.add_event_handler("ITERATION_COMPLETED", lambda e: losses.append(e.state.output[0]["loss"]))
    engine.run()
    return engine, losses


def test_the_loss_of_the_points_falls(trained):
    _, losses = trained
    assert len(losses) == 2 * EPOCHS and losses[-1] < losses[0] / 2


def test_points_are_told_apart(trained):
    engine, _ = trained
    assert engine.state.metrics["train_points_mean_dice"] > 0.8


def test_the_inferer_finds_the_ball_that_the_points_were_drawn_from(trained):
    engine, _ = trained
    case = ball()
    with torch.no_grad():
        inferer = OccupancyInferer("mise", depth=2, start=LowResolutionStart())
        found = inferer(case["image"][None], engine.network.eval())[0] > 0
    label = case["label"] > 0
    assert 2 * (found & label).sum() / (found.sum() + label.sum()) > 0.8
