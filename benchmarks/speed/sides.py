"""The sides of the comparison: a bundle, its network with stock operations in float32, and standard baselines."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from benchmarks.alternatives import ALTERNATIVES, DeepDiceCE, usual_optimizer
from benchmarks.speed.scenario import Scenario
from common.inferers import Locator

PLAIN = {"amp": False, "kernels": False}  # float32, contiguous memory, stock operations
BACK = "common.transforms.LabelsOnOriginalGridd"
IN_BOX = "common.transforms.InForegroundBoxd"
INVERSION = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}


def training_step(side: str, scenario: Scenario, batch: dict[str, Tensor]) -> Callable[[], Any]:
    """One training step on a batch: zero the gradients, forward, loss, backward, optimizer.

    The bundle's is a run of its trainer over one batch, training metric included, without handlers; ``plain`` a float32
    loop of the same network, loss and optimizer; the others are MONAI's trainer.
    """
    if side == "bundle":
        parser = scenario.training()
        parser["train"] |= {"dataloader": [batch], "handlers": []}
        parser["train"]["trainer"]["max_epochs"] = 1
        return parser.get_parsed_content("train#trainer").run
    if side == "plain":
        return _plain_step(scenario, batch)
    image, network = batch["image"].float(), _alternative(side, scenario).to(scenario.device)
    label = torch.randint(scenario.channels[1], (len(image), 1, *image.shape[2:]))
    return SupervisedTrainer(
        device=torch.device(scenario.device),
        max_epochs=1,
        train_data_loader=[{"image": image, "label": label}],
        network=network,
        optimizer=usual_optimizer(network),
        loss_function=DeepDiceCE(),
        amp=scenario.device == "cuda",
    ).run


def _alternative(side: str, scenario: Scenario) -> nn.Module:
    return ALTERNATIVES[side](*scenario.channels, scenario.size, **({"width": 8} if scenario.quick else {}))


def _plain_step(scenario: Scenario, batch: dict[str, Tensor]) -> Callable[[], None]:
    parser = scenario.training(**PLAIN)
    network, loss, optimizer = (parser.get_parsed_content(name) for name in ("network", "loss", "optimizer"))
    further = [name for name in list(inspect.signature(network.train().forward).parameters)[1:] if name in batch]
    adversary, weight, encode = (
        parser.get_parsed_content(f"train#trainer#{name}", default=default)
        for name, default in (("adversary", None), ("weight", 1.0), ("encode", lambda label: label))
    )
    judge = None if adversary is None else adversary.network.train()

    def step() -> None:
        image, label, *points = (batch[name].to(scenario.device) for name in ("image", "label", *further))
        image, label = image.float(), encode(label)
        output = network(image, *points)
        if judge is not None:  # the textbook: the discriminator learns from label and segmentation first
            adversary.optimizer.zero_grad()
            real, fake = judge(label, image), judge(output.detach(), image)
            (0.5 * ((real - 1).square().mean() + fake.square().mean())).backward()
            adversary.optimizer.step()
        optimizer.zero_grad()
        total = weight * loss(output, label)
        if judge is not None:
            total = total + (judge(output, image) - 1).square().mean()
        total.backward()
        optimizer.step()

    return step


def whole_case(side: str, scenario: Scenario, output: Path) -> Any:
    """The evaluator of a bundle's inference for one case, from its file to the written answer.

    ``plain`` is the same in float32 and contiguous memory, of torch's and MONAI's own operations: back to the file's
    grid with ``Invertd`` and argmax. The others read and preprocess as the bundle does; then come a sliding window of
    the bundle's size with MONAI's overlap of a quarter, argmax and ``Invertd``.
    """
    parser = scenario.inference(output_dir=str(output), **({} if side == "bundle" else PLAIN))
    if side == "plain":
        steps = parser["postprocessing"]["transforms"]
        parser["postprocessing"]["transforms"] = with_stock_postprocessing(steps, scenario.formats[1]["num_channels"])
    elif side != "bundle":
        parser["engine_amp"] = scenario.device == "cuda"
        parser["network_def"] = _alternative(side, scenario)
        parser["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": scenario.size}
        save = {"_target_": "common.transforms.SaveImageAsPredictiond", "keys": "pred", "output_dir": str(output)}
        argmax = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
        parser["postprocessing"] = {"_target_": "Compose", "transforms": [argmax, INVERSION, save]}
    evaluator = parser.get_parsed_content("evaluator")
    locator = getattr(evaluator.inferer, "locate", None)
    if side == "plain" and isinstance(locator, Locator):
        locator.network.to(memory_format=torch.contiguous_format)
    return evaluator


def with_stock_postprocessing(transforms: list[Any], channels: int) -> list[Any]:
    """Transforms of a bundle's postprocessing, with MONAI's own in place of quicker ones.

    Without ``InForegroundBoxd`` around them; all of the preprocessing is undone at once by ``Invertd``, in place of
    ``LabelsOnOriginalGridd`` and of the ``Invertd`` before it, which undoes a crop.
    Output of one channel is a probability, several channels exclude each other.
    """
    discrete = {"threshold": 0.5} if channels == 1 else {"argmax": True}
    stock: list[Any] = []
    for step in transforms:
        target = step["_target_"] if isinstance(step, dict) else ""
        if target == IN_BOX:
            inner = step["transform"]
            stock.append({**inner, "_target_": f"{inner['_target_']}d", "keys": step["keys"]})
        elif target == BACK:
            stock = [earlier for earlier in stock if "Invertd" not in str(earlier)]
            stock += [{**INVERSION, "nearest_interp": False}, {"_target_": "AsDiscreted", "keys": "pred", **discrete}]
        else:
            stock.append(step)
    return stock
