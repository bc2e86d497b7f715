"""When a training starts from weights, when it goes on from its own state, and whether it came to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanDice, from_engine
from torch import nn

from common.checkpoints import save_atomically
from common.handlers import TrainingCheckpoint, ValidationHandler


def trainer_of(folder: Path, *, epochs: int = 2, filled: float = 0.0, rate: float = 0.0, **checkpoint: object):
    """A trainer of one convolution whose weights are all ``filled``, and that convolution."""
    network = nn.Conv3d(1, 1, 1)
    for parameter in network.parameters():
        nn.init.constant_(parameter, filled)
    loader = DataLoader(Dataset([{"image": torch.ones(1, 2, 2, 2), "label": torch.ones(1, 2, 2, 2)}]), batch_size=1)
    dice = {"dice": MeanDice(output_transform=from_engine(["pred", "label"]))}
    evaluator = SupervisedEvaluator(torch.device("cpu"), loader, network, key_val_metric=dice)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        loader,
        network,
        optimizer,
        nn.MSELoss(),
        train_handlers=[
            ValidationHandler(interval=1, validator=evaluator),
            TrainingCheckpoint(folder, network, {"optimizer": optimizer}, evaluator, **checkpoint),
        ],
    )
    return trainer, network


@pytest.fixture
def init(tmp_path: Path) -> str:
    """A file of weights that are all 7."""
    save_atomically({"weight": torch.full((1, 1, 1, 1, 1), 7.0), "bias": torch.full((1,), 7.0)}, tmp_path / "init.pt")
    return str(tmp_path / "init.pt")


def test_a_new_training_starts_from_the_weights_that_are_named(tmp_path: Path, init: str) -> None:
    trainer, network = trainer_of(tmp_path / "run", init=init)
    trainer.run()
    assert network.bias.item() == 7


def test_the_weights_that_a_host_gives_before_it_runs_replace_them(tmp_path: Path, init: str) -> None:
    trainer, network = trainer_of(tmp_path / "run", init=init)
    nn.init.constant_(network.bias, 3.0)
    trainer.run()
    assert network.bias.item() == 3


def test_a_resumed_training_passes_over_them_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, init: str
) -> None:
    trainer_of(tmp_path, filled=5.0, epochs=1)[0].run()
    trainer, network = trainer_of(tmp_path, init=str(tmp_path / "gone.pt"), resume=True)
    trainer.run()
    assert network.bias.item() == 5
    assert "gone.pt is passed over: the training goes on from" in caplog.text


def test_a_training_without_a_state_to_resume_starts_from_them(tmp_path: Path, init: str) -> None:
    trainer, network = trainer_of(tmp_path / "run", init=init, resume=True)
    trainer.run()
    assert network.bias.item() == 7


def test_a_training_whose_states_are_all_damaged_starts_from_them(tmp_path: Path, init: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model_epoch=1.pt").write_bytes(b"damaged")
    trainer, network = trainer_of(tmp_path / "run", init=init, resume=True)
    trainer.run()
    assert network.bias.item() == 7


def test_missing_weights_end_it_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"init=.*nowhere: no such file or folder"):
        trainer_of(tmp_path, init=str(tmp_path / "nowhere"))


def finished(folder: Path) -> dict[int, bool]:
    """Epoch -> whether its state is of a training that came to its end."""
    states = [torch.load(file, weights_only=True) for file in folder.glob("model_epoch=*.pt")]
    return {state["epoch"]: state["finished"] for state in states}


def test_only_the_state_of_the_last_epoch_is_of_a_finished_training(tmp_path: Path) -> None:
    trainer_of(tmp_path, epochs=3)[0].run()
    assert finished(tmp_path) == {2: False, 3: True}


def test_a_training_that_is_stopped_early_is_finished(tmp_path: Path) -> None:
    trainer, _ = trainer_of(tmp_path, epochs=3)

    @trainer.on(Events.EPOCH_COMPLETED(once=2))
    def stop(engine: Engine) -> None:
        engine.terminate()

    trainer.run()
    assert finished(tmp_path) == {1: False, 2: True}
