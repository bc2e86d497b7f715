"""The sides of the comparison: a bundle, its network in a plain fp32 loop, and the networks one would take instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from benchmarks.alternatives import ALTERNATIVES, DeepDiceCE, stock_optimizer
from benchmarks.speed.scenario import Scenario
from common.kernels.rational import rational
from common.networks.oss_net.activation import PadeActivation
from common.networks.oss_net.conditional_norm import ConditionalBatchNorm
from common.networks.oss_net.decoder import PatchConv
from common.networks.oss_net.observations import PATCH

Batch = dict[str, Tensor]
Step = Callable[[], Any]

PLAIN_NETWORK = "$@network_def.to(@device)"  # contiguous memory
BACK = "common.transforms.LabelsOnOriginalGridd"
IN_BOX = "common.transforms.InForegroundBoxd"
INVERSION = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}

QUICK = {"width": 8}


def training_step(side: str, scenario: Scenario, batch: Batch) -> Step:
    """One training step on a batch: zero the gradients, forward, loss, backward, optimizer.

    The bundle's is a whole run of its trainer over one batch, training metric included, without handlers. ``plain`` is
    a loop of the same network, loss and optimizer in float32 and contiguous memory, of torch's own operations. The
    others are MONAI's trainer, which computes in reduced precision on CUDA only.

    Args:
        side: one of ``bundle``, ``plain`` or a name in :data:`ALTERNATIVES`.
        scenario: the bundle, at a size.
        batch: as the bundle's loader gives it.
    """
    if side == "bundle":
        parser = scenario.training()
        parser["train"]["dataloader"] = [batch]
        parser["train"]["handlers"] = []
        parser["train"]["trainer"]["max_epochs"] = 1
        return parser.get_parsed_content("train#trainer").run
    if side == "plain":
        return _plain_step(scenario, batch)
    image = batch["image"].float()
    network = _alternative(side, scenario).to(scenario.device)
    label = torch.randint(
        0, scenario.channels[1], (len(image), 1, *image.shape[2:]), generator=torch.Generator().manual_seed(0)
    )
    return SupervisedTrainer(
        device=torch.device(scenario.device),
        max_epochs=1,
        train_data_loader=[{"image": image, "label": label}],
        network=network,
        optimizer=stock_optimizer(network),
        loss_function=DeepDiceCE(),
        amp=scenario.device == "cuda",
    ).run


def _alternative(side: str, scenario: Scenario) -> nn.Module:
    return ALTERNATIVES[side](*scenario.channels, scenario.size, **(QUICK if scenario.quick else {}))


def _plain_step(scenario: Scenario, batch: Batch) -> Step:
    parser = scenario.training(amp=False, network=PLAIN_NETWORK)
    trainer = parser["train"]["trainer"]
    model = as_stock_layers(parser.get_parsed_content("network")).train()
    loss, optimizer = (parser.get_parsed_content(name) for name in ("loss", "optimizer"))
    further = [name for name in list(inspect.signature(model.forward).parameters)[1:] if name in batch]  # points

    def volumes() -> tuple[list[Tensor], Tensor]:
        inputs = [batch[name].to(scenario.device) for name in ("image", *further)]
        return [inputs[0].float(), *inputs[1:]], batch["label"].to(scenario.device)

    if "adversary" in trainer:
        return _plain_adversarial_step(parser, model, loss, optimizer, volumes)

    def step() -> None:
        inputs, label = volumes()
        optimizer.zero_grad()
        loss(model(*inputs), label).backward()
        optimizer.step()

    return step


def _plain_adversarial_step(parser: Any, model: nn.Module, loss: nn.Module, optimizer: Any, volumes: Callable) -> Step:
    """The textbook's loop: the discriminator learns from a label and a detached segmentation, then the generator."""
    adversary, weight, encode = (
        parser.get_parsed_content(f"train#trainer#{name}", default=default)
        for name, default in (("adversary", None), ("weight", 1.0), ("encode", Tensor.float))
    )
    judge = as_stock_layers(adversary.network).to(memory_format=torch.contiguous_format).train()

    def step() -> None:
        inputs, label = volumes()
        (image,), real = inputs, encode(label)
        fake = model(image)
        adversary.optimizer.zero_grad()
        scores = judge(real, image), judge(fake.detach(), image)
        (0.5 * ((scores[0] - 1).square().mean() + scores[1].square().mean())).backward()
        adversary.optimizer.step()
        optimizer.zero_grad()
        (weight * loss(fake, real) + (judge(fake, image) - 1).square().mean()).backward()
        optimizer.step()

    return step


def as_stock_layers(network: nn.Module) -> nn.Module:
    """The same network of torch's own operations, in place of quicker or thriftier ones that compute the same."""
    for layer in network.modules():
        for ours, stock in STOCK.items():
            if isinstance(layer, ours):
                layer.__class__ = stock
    return network


class StockPade(PadeActivation):
    """The rational function as a formula, whose intermediate results torch keeps for the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return rational(x, self.numerator, self.denominator)


class StockConditionalNorm(ConditionalBatchNorm):
    """torch's batch normalization of one channel, then the latent code's factor and addend."""

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        normal = F.batch_norm(
            x.flatten(1)[:, None],
            self.running_mean,
            self.running_var,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        return self.gamma(latent)[:, None] * normal.view(x.shape) + self.beta(latent)[:, None]


class StockPatchConv(PatchConv):
    """A convolution, of patches that come and go flattened."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.Conv3d.forward(self, x.unflatten(1, (self.in_channels, PATCH, PATCH, PATCH))).flatten(1)


STOCK = {
    nn.InstanceNorm3d: nn.InstanceNorm3d,
    PadeActivation: StockPade,
    ConditionalBatchNorm: StockConditionalNorm,
    PatchConv: StockPatchConv,
}


def whole_case(side: str, scenario: Scenario, output: Path) -> Any:
    """The evaluator of a bundle's inference for one case, from its file to the written answer.

    ``plain`` is the same in float32 and contiguous memory, of torch's and MONAI's own operations: back to the file's
    grid with ``Invertd`` and argmax. The others read and preprocess as the bundle does, then do what a MONAI user does:
    a sliding window of the bundle's size, whose overlap is MONAI's quarter, argmax, ``Invertd``.

    Args:
        side: one of ``bundle``, ``plain`` or a name in :data:`ALTERNATIVES`.
        scenario: the bundle, at a size.
        output: folder of the answer.
    """
    paths = {"output_dir": str(output)}
    if side == "bundle":
        return scenario.inference(**paths).get_parsed_content("evaluator")
    if side == "plain":
        parser = scenario.inference(**paths, amp=False, network=PLAIN_NETWORK)
        steps = parser["postprocessing"]["transforms"]
        parser["postprocessing"]["transforms"] = with_stock_postprocessing(steps, scenario.formats[1]["num_channels"])
        evaluator = parser.get_parsed_content("evaluator")
        for part in parts_of(evaluator.inferer, evaluator.network):
            if isinstance(part, nn.Module):
                as_stock_layers(part).to(memory_format=torch.contiguous_format)
        return evaluator
    parser = scenario.inference(**paths, network=PLAIN_NETWORK)
    parser["engine_amp"] = scenario.device == "cuda"
    parser["network_def"] = _alternative(side, scenario)
    parser["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": scenario.size}
    parser["postprocessing"] = {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            INVERSION,
            {"_target_": "common.transforms.SaveImageAsPredictiond", "keys": "pred", "output_dir": str(output)},
        ],
    }
    return parser.get_parsed_content("evaluator")


def with_stock_postprocessing(transforms: list[Any], channels: int) -> list[Any]:
    """A postprocessing of MONAI's transforms: ``Invertd`` in place of a quicker way back, no boxes of the foreground.

    Args:
        transforms: of a bundle's config.
        channels: of the network's output; one is a probability, several exclude each other.

    Returns:
        The transforms without ``InForegroundBoxd`` around them, and with all of the preprocessing undone at once in
        place of ``LabelsOnOriginalGridd`` and of the ``Invertd`` before it, which undoes a crop.
    """
    transforms = [
        {**step["transform"], "_target_": f"{step['transform']['_target_']}d", "keys": step["keys"]}
        if isinstance(step, dict) and step["_target_"] == IN_BOX
        else step
        for step in transforms
    ]
    targets = [step["_target_"] if isinstance(step, dict) else "" for step in transforms]
    if BACK not in targets:
        return transforms
    at = targets.index(BACK)
    before = [step for step, target in zip(transforms[:at], targets[:at], strict=True) if target != "Invertd"]
    discrete = {"threshold": 0.5} if channels == 1 else {"argmax": True}
    return [
        *before,
        {**INVERSION, "nearest_interp": False},
        {"_target_": "AsDiscreted", "keys": "pred", **discrete},
        *transforms[at + 1 :],
    ]


def parts_of(*objects: Any) -> list[Any]:
    """Objects, and the inferers, locators and networks that they hold."""
    found: list[Any] = []
    for item in objects:
        found.append(item)
        if isinstance(item, nn.Module) or not hasattr(item, "__dict__"):
            continue
        held = [value for value in vars(item).values() if type(value).__module__.startswith(("common.", "monai."))]
        found += parts_of(*held)
    return found
