"""The last epoch is validated whatever the interval is."""

from __future__ import annotations

import monai
import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from common.handlers import ValidationHandler


@pytest.fixture
def evaluator() -> SupervisedEvaluator:
    """One that is run, but has no data worth mentioning."""
    return SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=[{"image": torch.zeros(1, 1)}], network=torch.nn.Identity()
    )


def validated(evaluator: SupervisedEvaluator, interval: int, *rounds: int) -> list[int]:
    """Epochs that are validated by a trainer whose last epoch is raised round by round."""
    epochs: list[int] = []
    evaluator.add_event_handler(Events.STARTED, lambda engine: epochs.append(engine.state.max_epochs))
    trainer = Engine(lambda engine, batch: None)
    ValidationHandler(interval=interval, validator=evaluator).attach(trainer)
    for last in rounds:
        trainer.run([0], max_epochs=last)
    return epochs


@pytest.mark.parametrize(
    ("interval", "epochs", "expected"),
    [(5, 2, [2]), (5, 12, [5, 10, 12]), (5, 10, [5, 10]), (1, 3, [1, 2, 3]), (9, 1, [1])],
)
def test_the_last_epoch_is_validated_once(evaluator, interval, epochs, expected):
    assert validated(evaluator, interval, epochs) == expected


def test_every_round_of_a_federated_client_ends_with_a_validation(evaluator):
    assert validated(evaluator, 9, 1, 2) == [1, 2]


def test_it_is_a_validation_handler_for_other_programs(evaluator):
    assert isinstance(ValidationHandler(interval=5, validator=evaluator), monai.handlers.ValidationHandler)
