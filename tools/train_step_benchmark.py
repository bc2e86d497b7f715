"""Time a training step: a bundle's own trainer against a plain fp32 loop, side by side in one process.

Example::

    python -m tools.train_step_benchmark --network "{'_target_': 'common.networks.VNet'}"
    python -m tools.train_step_benchmark --bundle unet_liver_tumor --shape 96,96,96 --batch_size 2
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fire
import torch
from monai.bundle import ConfigParser
from torch.utils.data import DataLoader

BUNDLES = Path(__file__).resolve().parent.parent / "bundles"
Batch = dict[str, torch.Tensor]


def benchmark(
    bundle: str = "vnet_left_atrium",
    shape: Sequence[int] = (96, 144, 224),
    batch_size: int = 1,
    repeats: int = 5,
    network: dict | None = None,
) -> None:
    """Print the median seconds of a step, and bundle / plain, as a table and as JSON.

    A step is: zero the gradients, forward, loss, backward, optimiser. The bundle's time is that of a whole run of its
    trainer over one batch, training metric included, without handlers. The plain loop is the same network, loss
    and optimiser in float32 and contiguous memory. The two take turns; the first turn is not counted.

    Args:
        bundle: name of a folder in bundles/.
        shape: (D, H, W) in voxels, as the network takes them.
        batch_size: volumes in a batch.
        repeats: counted steps of each.
        network: config of the network; default that of the bundle's train.json.
    """
    torch.manual_seed(0)
    config = _config(bundle, network)
    batch = _random_batch(bundle, (batch_size, 1, *shape))
    steps = {"bundle": bundle_step(config, batch), "plain": plain_step(config, batch)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(1 + repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)

    counted = {name: values[1:] for name, values in seconds.items()}
    median = {name: statistics.median(values) for name, values in counted.items()}
    ratio = median["bundle"] / median["plain"]
    print(f"{'step':<8}{'median s':>10}{'min s':>10}{'max s':>10}")
    for name, values in counted.items():
        print(f"{name:<8}{median[name]:>10.3f}{min(values):>10.3f}{max(values):>10.3f}")
    print(f"{'ratio':<8}{ratio:>10.3f}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    size = [batch_size, *shape]
    print(
        json.dumps(
            {"bundle": bundle, "size": size, "device": device, "seconds": counted, "median": median, "ratio": ratio}
        )
    )


def bundle_step(config: dict, batch: Batch) -> Callable[[], None]:
    """One batch through the trainer that a train.json builds.

    Args:
        config: content of the train.json.
        batch: `image` and `label`, (B, 1, D, H, W).
    """
    items = [{key: value[i] for key, value in batch.items()} for i in range(len(batch["image"]))]  # (1, D, H, W)
    parser = ConfigParser(config)
    parser["train"]["dataloader"] = DataLoader(items, batch_size=len(items))
    parser["train"]["handlers"] = []
    parser["train"]["trainer"]["max_epochs"] = 1
    return parser.get_parsed_content("train#trainer").run


def plain_step(config: dict, batch: Batch) -> Callable[[], None]:
    """One step of the same network, loss and optimiser in float32 and contiguous memory; arguments as above."""
    parser = ConfigParser({**config, "network": "$@network_def.to(@device)"})
    model, loss, optimizer = (parser.get_parsed_content(name) for name in ("network", "loss", "optimizer"))
    device = parser.get_parsed_content("device")
    image, label = batch["image"].to(device), batch["label"].to(device)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        loss(model(image), label).backward()
        optimizer.step()

    return step


def _config(bundle: str, network: dict | None) -> dict:
    config = json.loads((BUNDLES / bundle / "configs/train.json").read_text())
    return config if network is None else {**config, "network_def": dict(network)}


def _random_batch(bundle: str, shape: Sequence[int]) -> Batch:
    """Noise (B, 1, D, H, W) and a label of the same shape, with as many classes as the bundle's network tells apart."""
    metadata = json.loads((BUNDLES / bundle / "configs/metadata.json").read_text())
    classes = max(metadata["network_data_format"]["outputs"]["pred"]["num_channels"], 2)
    foreground = torch.rand(*shape) < 0.1
    return {"image": torch.randn(*shape), "label": (foreground * torch.randint(1, classes, tuple(shape))).float()}


if __name__ == "__main__":
    fire.Fire(benchmark)
