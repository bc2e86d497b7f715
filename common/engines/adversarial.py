"""Segmentation against an adversary: a supervised trainer whose loss has a learned part."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.metrics import Average
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import from_engine
from monai.utils import CommonKeys as Keys
from monai.utils import convert_to_tensor
from torch import Tensor, nn
from torch.optim import Optimizer

from common.classes import IGNORED
from common.losses import (
    discriminator_accuracy,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)

__all__ = ["AdversarialSegmentationTrainer", "Adversary"]

ORDERS = ("alternating", "simultaneous")
NOTED = ("segmentation_loss", "adversarial_loss", "discriminator_loss", "discriminator_accuracy", "discriminator_step")


class Adversary:
    """The discriminator and how it is trained; its state (network, scaler, steps) goes into the checkpoint.

    In a step it judges the pairs (label, volume) and (segmentation, volume), learns from both, and says how the
    segmentation must change to be taken for a label. The segmentation's own network takes no part in that: its forward
    pass is done once, and goes backward once.

    Args:
        network: ``(segmentation, volume)`` to scores; in DistributedDataParallel or not.
        optimizer: of its parameters; checkpointed by itself.
        order: ``"alternating"``: the segmentation is judged by the discriminator that has just learnt from it (the
            article's code, which also draws new dropout masks for that: one more forward pass of the generator, left
            out here). ``"simultaneous"``: by the one that had not (the authors' code); one of its forward passes less.
        threshold: it learns only in steps in which its accuracy is at most this (0.8 in the article's code); above, it
            waits until the generator has caught up, which may be never. None lets it learn always, and makes no step
            wait for a number from the GPU.
        amp: whether its loss is scaled, for float16 on CUDA: see :func:`common.kernels.cuda_amp`.

    Attributes:
        steps: how many steps it has learnt in.

    Raises:
        ValueError: for an unknown order, or a threshold outside 0 to 1.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        *,
        order: str = "alternating",
        threshold: float | None = None,
        amp: bool = False,
    ) -> None:
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is an accuracy between 0 and 1, or null, got {threshold}")
        self.network = network
        self.optimizer = optimizer
        self.order = order
        self.threshold = threshold
        self.scaler = torch.amp.GradScaler("cuda", enabled=amp)
        self.steps = 0

    def step(
        self,
        fake: Tensor,
        real: Tensor,
        volume: Tensor,
        *,
        infer: Callable[..., Tensor],
        scale: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Learn from a batch, and judge its segmentation.

        Args:
            fake: segmentation, (B, M, D, H, W); a leaf that requires a gradient.
            real: label in the same form.
            volume: (B, C, D, H, W).
            infer: called as ``infer(segmentation, network, volume)``, gives scores.
            scale: of the generator's loss.

        Returns:
            Gradient of the scaled adversarial loss with respect to ``fake``, and ``adversarial_loss``,
            ``discriminator_loss``, ``discriminator_accuracy`` and ``discriminator_step`` (1 if it has learnt, else 0).
        """
        self.network.train()
        scores = infer(real, self.network, volume)
        if self.order == "alternating":
            noted = self._learn(scores, infer(fake.detach(), self.network, volume))
            with _frozen(_unwrapped(self.network)) as judge:
                loss = least_squares_generator_loss(infer(fake, judge, volume))
                (gradient,) = torch.autograd.grad(scale(loss), fake)
        else:
            fake_scores = infer(fake, self.network, volume)
            loss = least_squares_generator_loss(fake_scores)
            (gradient,) = torch.autograd.grad(scale(loss), fake, retain_graph=True)
            noted = self._learn(scores, fake_scores)
        return gradient, {"adversarial_loss": loss.detach(), **noted}

    def state_dict(self) -> dict[str, Any]:
        """Network, scaler (None without mixed precision) and steps."""
        return {
            "network": _unwrapped(self.network).state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler.is_enabled() else None,
            "steps": self.steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        _unwrapped(self.network).load_state_dict(state_dict["network"])
        if state_dict["scaler"] is not None:
            self.scaler.load_state_dict(state_dict["scaler"])
        self.steps = state_dict["steps"]

    def _learn(self, real: Tensor, fake: Tensor) -> dict[str, Tensor | float]:
        """One step on the scores of labels and segmentations, unless it is too good already."""
        loss = least_squares_discriminator_loss(real, fake)
        accuracy = discriminator_accuracy(real, fake)
        learns = self.threshold is None or _mean_over_processes(accuracy) <= self.threshold
        if learns:
            self.optimizer.zero_grad()
            # its parameters only: what the segmentation depends on is none of its business
            self.scaler.scale(loss).backward(inputs=[p for p in self.network.parameters() if p.requires_grad])
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.steps += 1
        return {
            "discriminator_loss": loss.detach(),
            "discriminator_accuracy": accuracy,
            "discriminator_step": float(learns),
        }


class AdversarialSegmentationTrainer(SupervisedTrainer):
    """MONAI's supervised trainer with the loss ``weight * loss_function + adversarial loss``.

    ``network``, ``optimizer`` and the rest are those of the segmentation (the generator). Its ``state.output`` has
    besides ``image``, ``label``, ``pred`` and ``loss`` the numbers ``segmentation_loss``, ``adversarial_loss``,
    ``discriminator_loss``, ``discriminator_accuracy`` and ``discriminator_step``; ``state.metrics`` has their means
    over the epoch.

    Args:
        adversary: None trains with ``weight * loss_function`` alone, to see what the adversary buys.
        weight: lambda of the loss function (100 in the article; alpha, 5, in the paper).
        encode: turns the label, (B, 1, D, H, W), into what the network is to generate, for loss function and
            adversary: a one-hot label for a softmax, for instance. The label as it is, as floats, by default.
        ignores: whether labels have voxels that nobody labeled (:data:`~common.classes.IGNORED`): there, label and
            segmentation are 0 in all channels, for loss function and adversary alike.
        kwargs: as for :class:`monai.engines.SupervisedTrainer`, by keyword; ``loss_function`` takes the network's
            output and the encoded label. ``optim_set_to_none`` is true by default, ``compile`` and
            ``accumulation_steps`` have no effect.

    Raises:
        ValueError: at the first step, if the encoded label has not the shape of the network's output.
    """

    def __init__(
        self,
        *,
        adversary: Adversary | None,
        weight: float = 1.0,
        encode: Callable[[Tensor], Tensor] = Tensor.float,
        ignores: bool = False,
        train_handlers: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        self.adversary = adversary
        self.weight = weight
        self.encode = encode
        self.ignores = ignores
        noted = NOTED if adversary is not None else NOTED[:1]
        handlers = [_EpochMeans(noted), *train_handlers]
        super().__init__(train_handlers=handlers, **{"optim_set_to_none": True, **kwargs})

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        image, label = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        output = self.state.output = {Keys.IMAGE: image, Keys.LABEL: label}
        # plain tensors: MetaTensor would do its bookkeeping in every layer
        volume, classes = (convert_to_tensor(x, track_meta=False) for x in (image, label))
        known = classes != IGNORED if self.ignores else None
        real = self.encode(classes) if known is None else self.encode(classes * known) * known
        scale = self.scaler.scale if self.amp and self.scaler is not None else _as_it_is
        self.network.train()
        self.optimizer.zero_grad(set_to_none=self.optim_set_to_none)

        fake = self._infer(volume, self.network)
        if fake.shape != real.shape:
            raise ValueError(
                f"the network gives {tuple(fake.shape)}, but the encoded label is {tuple(real.shape)}: does encode fit "
                "the network's channels?"
            )
        output[Keys.PRED] = fake.detach()
        fake = fake if known is None else fake * known
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        segmentation_loss = self.loss_function(fake, real)
        loss = self.weight * segmentation_loss
        roots, gradients = [scale(loss)], [None]
        output |= {"segmentation_loss": segmentation_loss.detach(), Keys.LOSS: loss.detach()}
        if self.adversary is not None:
            judged = fake.detach().requires_grad_()
            gradient, noted = self.adversary.step(judged, real, volume, infer=self._infer, scale=scale)
            roots, gradients = [*roots, fake], [*gradients, gradient]
            output |= {**noted, Keys.LOSS: loss.detach() + noted["adversarial_loss"]}
        self.fire_event(IterationEvents.LOSS_COMPLETED)

        torch.autograd.backward(roots, gradients)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if scale is _as_it_is:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _infer(self, inputs: Tensor, network: nn.Module, *args: Tensor) -> Tensor:
        # Autocast for one pass only: it would keep the weights of before a discriminator's step.
        with torch.autocast("cuda", **self.amp_kwargs) if self.amp else contextlib.nullcontext():
            return self.inferer(inputs, network, *args).float()


class _EpochMeans:
    """Means of numbers in ``state.output`` over an epoch, in ``state.metrics`` before any handler asks for them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def attach(self, engine: Engine) -> None:
        for name in self.names:
            Average(output_transform=from_engine([name], first=True)).attach(engine, name)


def _as_it_is(loss: Tensor) -> Tensor:
    return loss


def _unwrapped(network: nn.Module) -> nn.Module:
    return getattr(network, "module", network)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[nn.Module]:
    """The network with parameters that get, and cost, no gradient."""
    learning = [p for p in network.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield network
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _mean_over_processes(value: Tensor) -> float:
    return float(idist.all_reduce(float(value))) / idist.get_world_size()
