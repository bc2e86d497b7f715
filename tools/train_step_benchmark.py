"""Time a training step of the V-Net: a bundle's own trainer against a plain fp32 loop, side by side in one process.

Example::

    python -m tools.train_step_benchmark
    python -m tools.train_step_benchmark --shape 48,64,96 --repeats 5
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

CONFIG = Path(__file__).resolve().parent.parent / "bundles/vnet_left_atrium/configs/train.json"


def benchmark(shape: Sequence[int] = (96, 144, 224), repeats: int = 5, norm: str | None = None) -> None:
    """Print the median seconds of a step at batch size 1, with one channel, and bundle / plain as a table and as JSON.

    A step is: zero the gradients, forward, loss, backward, optimiser. The bundle's time is that of a whole run of its
    trainer over one batch, training metric included, without handlers. The plain loop is the same network, loss
    and optimiser in float32 and contiguous memory. The two take turns; the first turn is not counted.

    Args:
        shape: (D, H, W) in voxels, each a multiple of 16.
        repeats: counted steps of each.
        norm: normalisation of the network; None is the baseline of the paper.
    """
    torch.manual_seed(0)
    batch = {
        "image": torch.randn(1, 1, *shape),  # (B, C, D, H, W)
        "label": (torch.rand(1, 1, *shape) < 0.1).float(),  # (B, C, D, H, W)
    }
    network = {"_target_": "common.networks.VNet", "norm": norm}
    steps = {"bundle": bundle_step(network, batch), "plain": plain_step(network, batch)}
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
    print(json.dumps({"shape": list(shape), "device": device, "seconds": counted, "median": median, "ratio": ratio}))


def bundle_step(network: dict, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One batch through the trainer that the bundle's train.json builds.

    Args:
        network: config of the network.
        batch: `image` and `label`, each (1, 1, D, H, W).
    """
    item = {key: value[0] for key, value in batch.items()}  # (C, D, H, W)
    parser = _parser(network)
    parser["train"]["dataloader"] = DataLoader([item], batch_size=1)
    parser["train"]["handlers"] = []
    parser["train"]["trainer"]["max_epochs"] = 1
    return parser.get_parsed_content("train#trainer").run


def plain_step(network: dict, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One step of the same network, loss and optimiser in float32 and contiguous memory.

    Args:
        network: config of the network.
        batch: `image` and `label`, each (1, 1, D, H, W).
    """
    parser = _parser(network)
    parser["network"] = "$@network_def.to(@device)"
    model, loss, optimizer = (parser.get_parsed_content(name) for name in ("network", "loss", "optimizer"))
    device = parser.get_parsed_content("device")
    image, label = batch["image"].to(device), batch["label"].to(device)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        loss(model(image), label).backward()
        optimizer.step()

    return step


def _parser(network: dict) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser["network_def"] = dict(network)
    return parser


if __name__ == "__main__":
    fire.Fire(benchmark)
