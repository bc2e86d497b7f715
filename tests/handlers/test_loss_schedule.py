"""The alpha schedules of the hybrid loss, alone, in MONAI's trainer and across a checkpoint."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss

from common.handlers import DiceThresholdAlphaSchedule, EpochAlphaSchedule
from common.losses import HybridLoss


@pytest.fixture
def loss() -> HybridLoss:
    return HybridLoss(DiceLoss(sigmoid=True, batch=True))


def run(schedule, loss: HybridLoss, *, epochs: int, before=None) -> list[float]:
    """Alpha during each of the epochs; ``before(epoch)`` stands for the validation ahead of the schedule."""
    trainer = Engine(lambda engine, batch: None)
    alphas: list[float] = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: alphas.append(loss.alpha))
    if before is not None:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: before(engine.state.epoch - 1))
    schedule.attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return alphas


def validate(evaluator: Engine, dice: list[float]):
    return lambda epoch: evaluator.state.metrics.update(val_mean_dice=dice[epoch])


def test_alpha_falls_by_a_hundredth_per_epoch_to_0_15_in_epoch_85(loss):
    alphas = run(EpochAlphaSchedule(loss), loss, epochs=201)
    assert alphas == [max(100 - epoch, 15) / 100 for epoch in range(201)]


def test_alpha_follows_the_rule_of_the_original_project(loss):
    alpha, expected = 1.0, []
    for _ in range(201):
        expected.append(alpha)
        if alpha - 0.1 >= 0.05:
            alpha -= 0.01
    assert run(EpochAlphaSchedule(loss), loss, epochs=201) == pytest.approx(expected, abs=1e-9)


def test_start_step_and_floor_can_be_chosen(loss):
    schedule = EpochAlphaSchedule(loss, start=0.9, step=0.25, floor=0.3)
    assert run(schedule, loss, epochs=5) == [0.9, 0.65, 0.4, 0.3, 0.3]


def test_alpha_waits_for_the_threshold_and_then_falls_though_the_dice_drops(loss):
    evaluator = Engine(lambda engine, batch: None)
    schedule = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_mean_dice", threshold=0.8)
    dice = [0.5, 0.79, 0.8, 0.6, 0.6, 0.9]
    assert run(schedule, loss, epochs=6, before=validate(evaluator, dice)) == [1.0, 1.0, 1.0, 0.99, 0.98, 0.97]


def test_alpha_stays_at_the_floor_after_the_threshold(loss):
    evaluator = Engine(lambda engine, batch: None)
    schedule = DiceThresholdAlphaSchedule(
        loss, evaluator, metric="val_mean_dice", threshold=0.8, start=0.9, step=0.3, floor=0.2
    )
    alphas = run(schedule, loss, epochs=5, before=validate(evaluator, [0.8] * 5))
    assert alphas == [0.9, 0.6, 0.3, 0.2, 0.2]


def test_alpha_stays_while_nothing_was_validated(loss):
    evaluator = Engine(lambda engine, batch: None)
    schedule = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_mean_dice", threshold=0.0)
    assert run(schedule, loss, epochs=3) == [1.0, 1.0, 1.0]


def test_alpha_stays_while_the_dice_is_not_a_number(loss):
    evaluator = Engine(lambda engine, batch: None)
    schedule = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_mean_dice", threshold=0.5)
    assert run(schedule, loss, epochs=2, before=validate(evaluator, [float("nan")] * 2)) == [1.0, 1.0]


def test_a_metric_by_a_wrong_name_is_an_error(loss):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics = {"val_mean_dice": 0.9}
    schedule = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_dice", threshold=0.8)
    with pytest.raises(KeyError, match=r"no metric 'val_dice', only \['val_mean_dice'\]"):
        run(schedule, loss, epochs=1)


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"step": -0.01}, {"floor": 1.1}, {"start": 1.5}, {"floor": -0.1}])
def test_a_line_that_does_not_fall_is_an_error(loss, wrong):
    with pytest.raises(ValueError, match="0 <= floor <= start <= 1"):
        EpochAlphaSchedule(loss, **wrong)


def through_a_file(state: dict, path) -> dict:
    torch.save(state, path)
    return torch.load(path, weights_only=True)


def test_a_checkpoint_restores_alpha_exactly(loss, tmp_path):
    schedule = EpochAlphaSchedule(loss, step=0.0123)
    run(schedule, loss, epochs=37)
    resumed = HybridLoss(loss.regional)
    EpochAlphaSchedule(resumed, step=0.0123).load_state_dict(through_a_file(schedule.state_dict(), tmp_path / "a.pt"))
    assert resumed.alpha == loss.alpha == pytest.approx(1 - 37 * 0.0123)


def test_a_resumed_run_keeps_the_reached_threshold(loss, tmp_path):
    evaluator = Engine(lambda engine, batch: None)
    schedule = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_mean_dice", threshold=0.8)
    run(schedule, loss, epochs=3, before=validate(evaluator, [0.7, 0.85, 0.7]))
    fresh = Engine(lambda engine, batch: None)  # an evaluator that has validated nothing yet
    resumed = HybridLoss(loss.regional)
    again = DiceThresholdAlphaSchedule(resumed, fresh, metric="val_mean_dice", threshold=0.8)
    again.load_state_dict(through_a_file(schedule.state_dict(), tmp_path / "a.pt"))
    assert run(again, resumed, epochs=3, before=validate(fresh, [0.1] * 3)) == [0.98, 0.97, 0.96]


def test_a_resumed_run_goes_on_with_the_alpha_of_its_own_settings(loss):
    before = EpochAlphaSchedule(loss)
    run(before, loss, epochs=5)
    after = EpochAlphaSchedule(loss, start=0.9, step=0.1, floor=0.2)
    after.load_state_dict(before.state_dict())
    assert loss.alpha == 0.4  # 0.9 - 5 x 0.1


def test_a_resumed_run_asks_the_validations_so_far_whether_they_reached_another_threshold(loss):
    evaluator = Engine(lambda engine, batch: None)
    before = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_mean_dice", threshold=0.95)
    assert run(before, loss, epochs=4, before=validate(evaluator, [0.5, 0.7, 0.9, 0.6]))[-1] == 1.0
    after = DiceThresholdAlphaSchedule(loss, evaluator, metric="val_mean_dice", threshold=0.7)
    after.load_state_dict(before.state_dict())
    assert loss.alpha == 0.97  # epochs 2, 3 and 4 ended with 0.7 reached


def test_monais_trainer_hands_mask_and_map_to_the_loss(loss):
    network = torch.nn.Conv3d(1, 1, 1)
    target = torch.cat([torch.ones(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 3.0)], dim=1)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=[{"image": torch.ones(1, 1, 2, 2, 2), "label": target}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=loss,
        train_handlers=[EpochAlphaSchedule(loss, step=0.5)],
    )
    losses: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    trainer.run()
    p = float(torch.sigmoid(network.weight.sum() + network.bias.sum()).detach())
    dice = 1 - 2 * p / (p + 1)
    assert losses == pytest.approx([dice, 0.5 * dice + 0.5 * 3 * p], abs=1e-5)
