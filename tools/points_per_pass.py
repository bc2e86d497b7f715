"""Time and memory of segmenting one scan against the points decoded at a time, for bundles with an `OccupancyInferer`.

Writes `points_per_pass.{json,md,png}`: the last figure of OSS-Net's paper, measured here.

Example::

    python -m tools.points_per_pass --models runs/oss_net/brats2020/models --dataset_dir DATA --output_dir OUT
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
import torch
from monai.bundle import ConfigParser
from monai.data import list_data_collate
from torch import Tensor

from common.costs import Costs, PeakMemory
from tools.pipeline import bundle_configs


def measure(
    models: str,
    dataset_dir: str,
    output_dir: str,
    *,
    bundle: str = "oss_net",
    overlay: str | None = None,
    strategies: Sequence[str] = ("mise", "dense"),
    exponents: Sequence[int] = tuple(range(9, 19)),
    dense_exponents: Sequence[int] = (14, 17),
    repeats: int = 1,
) -> list[dict[str, Any]]:
    """Segment the first scan of a data set with every strategy and number of points per pass, and write the table.

    Args:
        models: folder of `model.pt` and `fit.json`.
        dataset_dir: what `inference.json` takes.
        output_dir: folder for the answer.
        bundle: name of a folder in bundles/.
        overlay: a file of its configs/ merged into `inference.json`, such as `lits.json`.
        strategies: of the inferer; the first gives the volume with which the others are compared.
        exponents: of two, for points per pass.
        dense_exponents: the same for `dense`, which takes long.
        repeats: the shortest time of so many is kept.

    Returns:
        A row for each: `strategy`, `points_per_pass`, `points`, `voxels`, `seconds`, `above_mib` (highest memory above
        what the process held with the scan and the network loaded), `dice` (with the first strategy's volume).
    """
    config = _config(bundle, models, dataset_dir, overlay)
    network, device = config.get_parsed_content("network"), config.get_parsed_content("device")
    network.load_state_dict(torch.load(Path(models, "model.pt"), map_location=device, weights_only=True))
    network.eval()
    image = list_data_collate([config.get_parsed_content("dataset")[0]])["image"].as_tensor().to(device)
    memory, rows, first = PeakMemory(device), [], None
    for strategy in strategies:
        for exponent in dense_exponents if strategy == "dense" else exponents:
            config.update({"strategy": strategy, "max_points": 2**exponent})
            inferer = config.get_parsed_content("inferer")
            seconds, above, mask = zip(*(_once(inferer, image, network, memory) for _ in range(repeats)), strict=True)
            first = mask[0] if first is None else first
            row = {
                "strategy": strategy,
                "points_per_pass": 2**exponent,
                "points": sum(inferer.inferer.evaluated[0]),
                "voxels": math.prod(image.shape[2:]),
                "seconds": min(seconds),
                "above_mib": max(above),
                "dice": float(2 * (mask[0] & first).sum() / (mask[0].sum() + first.sum())),
            }
            print(json.dumps(row), flush=True)
            rows.append(row)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    answer = {"hardware": hardware, "torch": torch.__version__, "memory": memory.kind, "rows": rows}
    (folder / "points_per_pass.json").write_text(json.dumps(answer, indent=1))
    (folder / "points_per_pass.md").write_text(table(rows))
    plot(rows, folder / "points_per_pass.png", title=hardware)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of :func:`measure` in Markdown."""
    lines = ["| strategy | points per pass | points evaluated | s | MiB above | Dice |", "|---|---|---|---|---|---|"]
    for row in rows:
        share = row["points"] / row["voxels"]
        lines.append(
            f"| {row['strategy']} | 2^{row['points_per_pass'].bit_length() - 1} | {row['points']:,} ({share:.1%}) "
            f"| {row['seconds']:.1f} | {row['above_mib']:.0f} | {row['dice']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Seconds and memory over points per pass, a line for each strategy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, key, label in zip(figure.subplots(1, 2), ("seconds", "above_mib"), ("s", "MiB above"), strict=True):
        for strategy in dict.fromkeys(row["strategy"] for row in rows):
            chosen = [row for row in rows if row["strategy"] == strategy]
            axes.plot([row["points_per_pass"] for row in chosen], [row[key] for row in chosen], "o-", label=strategy)
        axes.set(xlabel="points per pass", ylabel=label, ylim=(0, None))
        axes.set_xscale("log", base=2)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _config(bundle: str, models: str, dataset_dir: str, overlay: str | None) -> ConfigParser:
    folder = bundle_configs(bundle)
    config = ConfigParser()
    config.read_config(folder / "inference.json")
    known = config.get()
    if overlay is not None:
        merged = json.loads((folder / overlay).read_text())
        config.update({key: value for key, value in merged.items() if key in known})
    config.update({"ckpt_dir": str(models), "dataset_dir": str(dataset_dir), "num_workers": 0})
    return config


@torch.inference_mode()
def _once(inferer: Any, image: Tensor, network: torch.nn.Module, memory: PeakMemory) -> tuple[float, float, Tensor]:
    """Seconds, MiB above what is loaded, and the mask of one scan."""
    loaded = _held(memory)
    costs, start = Costs(memory), time.perf_counter()
    logits = inferer(image, network)
    mask = (logits > 0).cpu()  # waits for a GPU
    seconds = time.perf_counter() - start
    memory.update()
    return seconds, costs.peak_mib - loaded, mask


def _held(memory: PeakMemory) -> float:
    """MiB that are held now."""
    if memory.device.type == "cuda":
        return torch.cuda.memory_allocated(memory.device) / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    fire.Fire(measure, serialize=lambda rows: None)
