"""The adversarial trainer against two-step loops written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss
from monai.networks.utils import one_hot
from monai.transforms import AsDiscreted
from torch import Tensor, nn

from common.engines import AdversarialSegmentationTrainer, Adversary
from common.inferers import AutocastInferer
from common.networks import Vox2VoxDiscriminator, Vox2VoxGenerator

WEIGHT = 5.0
ENCODE = partial(one_hot, num_classes=2)
SEGMENTATION_LOSS = DiceLoss(squared_pred=True, batch=True, smooth_nr=1, smooth_dr=1)


class Pair:
    """Generator and discriminator with their optimizers, the same at every call."""

    def __init__(self, *, variant: str = "tensorflow") -> None:
        torch.manual_seed(5)
        self.g = Vox2VoxGenerator(1, 2, variant="paper", width=2)
        self.d = Vox2VoxDiscriminator(1, 2, variant=variant, width=2)
        self.g_optimizer, self.d_optimizer = (
            torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.5, 0.999)) for network in (self.g, self.d)
        )

    def state(self) -> list[dict]:
        return [item.state_dict() for item in (self.g, self.d, self.g_optimizer, self.d_optimizer)]


def cases(n: int = 3) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 32, 32, 32, generator=generator)
    return [{"image": image, "label": (image > 0.5).float()} for image in images]


def loader(n: int = 3, batch_size: int = 1) -> DataLoader:
    return DataLoader(Dataset(cases(n)), batch_size=batch_size)


def trainer(pair: Pair, **options: Any) -> AdversarialSegmentationTrainer:
    """One epoch of three steps, unless told otherwise."""
    adversary = {name: options.pop(name) for name in ("order", "threshold") if name in options}
    options = {"adversary": Adversary(pair.d, pair.d_optimizer, **adversary), **options}
    return AdversarialSegmentationTrainer(
        **{
            "device": torch.device("cpu"),
            "max_epochs": 1,
            "train_data_loader": loader(),
            "network": pair.g,
            "optimizer": pair.g_optimizer,
            "loss_function": SEGMENTATION_LOSS,
            "weight": WEIGHT,
            "encode": ENCODE,
            **options,
        }
    )


def alternating_step(pair: Pair, x: Tensor, y: Tensor, *, forwards: int = 1) -> None:
    """Discriminator first, then the generator against it; with two forward passes as the article's code."""
    fake = pair.g(x)
    pair.d_optimizer.zero_grad()
    loss = 0.5 * (((pair.d(y, x) - 1) ** 2).mean() + (pair.d(fake.detach(), x) ** 2).mean())
    loss.backward()
    pair.d_optimizer.step()
    if forwards == 2:
        fake = pair.g(x)
    pair.g_optimizer.zero_grad()
    (WEIGHT * SEGMENTATION_LOSS(fake, y) + ((pair.d(fake, x) - 1) ** 2).mean()).backward()
    pair.g_optimizer.step()


def simultaneous_step(pair: Pair, x: Tensor, y: Tensor) -> None:
    """One forward pass of each, both losses from it, then both optimizers: two gradient tapes, as in TensorFlow."""
    fake = pair.g(x)
    segmentation_loss = SEGMENTATION_LOSS(fake, y)
    real_scores, fake_scores = pair.d(y, x), pair.d(fake, x)
    g_loss = WEIGHT * segmentation_loss + ((fake_scores - 1) ** 2).mean()
    d_loss = 0.5 * (((real_scores - 1) ** 2).mean() + (fake_scores**2).mean())
    for loss, network in ((g_loss, pair.g), (d_loss, pair.d)):
        parameters = list(network.parameters())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True
        ):
            parameter.grad = gradient
    pair.g_optimizer.step()
    pair.d_optimizer.step()


def by_hand(step: Callable, pair: Pair) -> list[dict]:
    torch.manual_seed(9)
    for case in cases():
        step(pair, case["image"][None], ENCODE(case["label"][None]))
    return pair.state()


def by_the_engine(pair: Pair, **options: Any) -> list[dict]:
    return run_seeded(trainer(pair, **options), pair)


def run_seeded(loop: SupervisedTrainer, pair: Pair) -> list[dict]:
    loop.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: torch.manual_seed(9))  # after the loader's draws
    loop.run()
    return pair.state()


def assert_same(one: Any, other: Any) -> None:
    """Equal in every bit, whatever the nesting."""
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["paper", "tensorflow", "pytorch"])
@pytest.mark.parametrize(("order", "step"), [("alternating", alternating_step), ("simultaneous", simultaneous_step)])
def test_steps_are_those_of_a_loop_written_by_hand_in_every_bit(order, step, variant):
    assert_same(by_the_engine(Pair(variant=variant), order=order), by_hand(step, Pair(variant=variant)))


def test_the_orders_differ():
    one, other = (by_the_engine(Pair(), order=order)[0] for order in ("alternating", "simultaneous"))
    assert any(not torch.equal(one[key], other[key]) for key in one)


def without_dropout(pair: Pair) -> Pair:
    for network in (pair.g, pair.d):
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    return pair


def test_a_second_forward_pass_of_the_generator_would_change_nothing_but_the_dropout():
    expected = by_hand(partial(alternating_step, forwards=2), without_dropout(Pair()))
    assert_same(by_the_engine(without_dropout(Pair())), expected)


@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_the_generator_runs_once_a_step(order):
    pair, calls = Pair(), []
    pair.g.register_forward_hook(lambda *_: calls.append(1))
    trainer(pair, order=order).run()
    assert len(calls) == 3


@pytest.mark.parametrize(("order", "passes"), [("alternating", [True, True, False]), ("simultaneous", [True, True])])
def test_the_discriminator_has_no_gradient_where_it_only_judges(order, passes):
    pair, learning = Pair(), []
    pair.d.register_forward_hook(lambda *_: learning.append(all(p.requires_grad for p in pair.d.parameters())))
    trainer(pair, order=order).run()
    assert learning == 3 * passes
    assert all(p.requires_grad for p in pair.d.parameters())


def test_without_an_adversary_it_is_monais_supervised_trainer():
    pair = Pair()
    monais = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=loader(),
        network=pair.g,
        optimizer=pair.g_optimizer,
        loss_function=lambda pred, label: WEIGHT * SEGMENTATION_LOSS(pred, ENCODE(label)),
    )
    assert_same(by_the_engine(Pair(), adversary=None), run_seeded(monais, pair))


@pytest.mark.parametrize(("threshold", "steps"), [(None, 3), (1.0, 3), (0.0, 0)])
def test_the_discriminator_waits_while_its_accuracy_is_above_the_threshold(threshold, steps):
    pair, untrained = Pair(), Pair()
    loop = trainer(pair, threshold=threshold)
    loop.run()
    assert loop.adversary.steps == steps
    assert loop.state.metrics["discriminator_step"] == steps / 3
    changed = any(not torch.equal(a, b) for a, b in zip(pair.d.parameters(), untrained.d.parameters(), strict=True))
    assert changed == (steps > 0)
    assert any(not torch.equal(a, b) for a, b in zip(pair.g.parameters(), untrained.g.parameters(), strict=True))


def constant_scores(pair: Pair, score: float) -> None:
    nn.init.zeros_(pair.d.output.weight)
    nn.init.constant_(pair.d.output.bias, score)


def test_numbers_of_a_step_are_those_of_the_formulas():
    pair = Pair(variant="paper")
    constant_scores(pair, 0.75)
    outputs = []
    loop = trainer(pair, threshold=0.0, train_data_loader=loader(1))
    loop.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output[0]))
    loop.run()
    (output,) = outputs
    assert output["adversarial_loss"] == pytest.approx((0.75 - 1) ** 2)
    assert output["discriminator_loss"] == pytest.approx(0.5 * ((0.75 - 1) ** 2 + 0.75**2))
    assert output["discriminator_accuracy"] == 0.5  # all labels, no segmentation
    assert output["loss"] == pytest.approx(WEIGHT * output["segmentation_loss"] + output["adversarial_loss"])
    label = ENCODE(cases(1)[0]["label"][None])
    assert output["segmentation_loss"] == pytest.approx(float(SEGMENTATION_LOSS(output["pred"][None], label)))


def test_metrics_are_the_means_of_the_epoch_and_known_to_every_handler():
    seen, noted = {}, []

    class Handler:
        def attach(self, engine: Any) -> None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: seen.update(e.state.metrics))
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: noted.append(e.state.output[0]))

    trainer(Pair(), train_handlers=[Handler()]).run()
    names = ["segmentation_loss", "adversarial_loss", "discriminator_loss", "discriminator_accuracy"]
    assert {name: seen[name] for name in names} == pytest.approx(
        {name: sum(output[name] for output in noted) / 3 for name in names}
    )


def test_postprocessing_sees_prediction_and_label_of_each_case():
    loop = trainer(Pair(), postprocessing=AsDiscreted("pred", argmax=True), train_data_loader=loader(2, batch_size=2))
    loop.run()
    assert [tuple(output["pred"].shape) for output in loop.state.output] == 2 * [(1, 32, 32, 32)]
    assert [tuple(output["label"].shape) for output in loop.state.output] == 2 * [(1, 32, 32, 32)]


def test_consumers_of_bundles_find_the_generator_and_its_optimizer():
    pair = Pair()
    loop = trainer(pair)
    assert loop.network is pair.g and loop.optimizer is pair.g_optimizer


def test_trains_in_bfloat16_through_the_shared_inferer():
    pair, types = Pair(), []
    pair.d.block2.conv.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    loop = trainer(pair, inferer=AutocastInferer(amp=True))
    loop.run()
    assert set(types) == {torch.bfloat16} and loop.state.output[0]["pred"].dtype is torch.float32
    assert all(torch.isfinite(p).all() for network in (pair.g, pair.d) for p in network.parameters())


def scaler(*_: Any, **__: Any) -> torch.amp.GradScaler:
    """A scaler that works on the CPU; a power of two changes no digit."""
    return torch.amp.GradScaler("cpu", init_scale=1024.0)


@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_scaled_losses_give_the_same_steps(order, monkeypatch):
    expected = by_the_engine(Pair(), order=order)
    monkeypatch.setattr("torch.cuda.amp.GradScaler", scaler)
    pair = Pair()
    adversary = Adversary(pair.d, pair.d_optimizer, order=order)
    adversary.scaler = scaler()
    assert_same(by_the_engine(pair, adversary=adversary, amp=True), expected)
    assert adversary.state_dict()["scaler"]["_growth_tracker"] == 3


def test_an_encoding_that_does_not_plan_the_network_is_named():
    with pytest.raises(ValueError, match=r"gives \(1, 2, 32, 32, 32\), but the encoded label is \(1, 1, 32, 32, 32\)"):
        trainer(Pair(), encode=Tensor.float).run()


def test_an_unknown_order_is_refused_with_those_there_are():
    pair = Pair()
    with pytest.raises(ValueError, match="one of alternating, simultaneous, got 'random'"):
        Adversary(pair.d, pair.d_optimizer, order="random")


@pytest.mark.parametrize("threshold", [-0.1, 80])
def test_a_threshold_that_is_no_accuracy_is_refused(threshold):
    pair = Pair()
    with pytest.raises(ValueError, match="accuracy between 0 and 1, or null"):
        Adversary(pair.d, pair.d_optimizer, threshold=threshold)
