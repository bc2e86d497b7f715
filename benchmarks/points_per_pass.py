"""Time and memory of segmenting one scan against the points decoded at a time, for bundles with an `OccupancyInferer`.

Writes `points_per_pass.{json,md}`: the last figure of OSS-Net's paper, measured here.

Example::

    python -m benchmarks.points_per_pass --models runs/oss_net/brats2020/models --dataset_dir DATA --output_dir OUT
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import list_data_collate
from torch.utils.benchmark import timer  # waits for a GPU

from benchmarks.bundles import inference_config
from benchmarks.machine import table
from common.command_line import run_command
from common.costs import Costs, PeakMemory

Row = dict[str, Any]


def measure(
    models: Path,
    dataset_dir: Path,
    output_dir: Path,
    *,
    bundle: str = "oss_net",
    overlay: str | None = None,
    strategies: Sequence[str] = ("mise", "dense"),
    exponents: Sequence[int] = tuple(range(9, 19)),
    dense_exponents: Sequence[int] = (14, 17),
    repeats: int = 1,
) -> list[Row]:
    """Segment the first scan of a data set with every strategy and number of points per pass, and write the table.

    Args:
        models: folder of `model.pt` and `plan.json`.
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
        what the process held with the scan and the network loaded), `dice` (with the first row's volume).
    """
    config = inference_config(bundle, [] if overlay is None else [overlay])
    config.update({"ckpt_dir": str(models), "dataset_dir": str(dataset_dir), "num_workers": 0})
    runs = [(s, 2**e) for s in strategies for e in (dense_exponents if s == "dense" else exponents)]
    rows, first = [], None
    # A process for each, so that none finds memory that another left behind.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        for strategy, points in runs:
            values = {"strategy": strategy, "max_points": points}
            row, hardware, mask = processes.submit(_measured, {**config.get(), **values}, repeats).result()
            first = mask if first is None else first
            both = int(mask.sum()) + int(first.sum())
            dice = 2 * int((mask & first).sum()) / both if both else 1.0
            rows.append({"strategy": strategy, "points_per_pass": points, **row, "dice": dice})
            print(json.dumps(rows[-1]), flush=True)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "points_per_pass.json").write_text(json.dumps({**hardware, "rows": rows}, indent=1))
    (folder / "points_per_pass.md").write_text(markdown(rows))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """Rows of :func:`measure` as a table."""
    lines = [
        {
            "strategy": row["strategy"],
            "points per pass": f"2^{row['points_per_pass'].bit_length() - 1}",
            "points evaluated": f"{row['points']:,} ({row['points'] / row['voxels']:.1%})",
            "s": f"{row['seconds']:.1f}",
            "MiB above": f"{row['above_mib']:.0f}",
            "Dice": f"{row['dice']:.4f}",
        }
        for row in rows
    ]
    return table(lines) + "\n"


def _measured(config: dict[str, Any], repeats: int) -> tuple[Row, dict[str, str], np.ndarray]:
    """What was measured, on what, and the mask of the first scan."""
    parser = ConfigParser(config)
    names = ("network", "device", "inferer", "dataset")
    network, device, inferer, dataset = (parser.get_parsed_content(name) for name in names)
    network.load_state_dict(torch.load(Path(config["ckpt_dir"], "model.pt"), map_location=device, weights_only=True))
    network.eval()
    image = list_data_collate([dataset[0]])["image"].as_tensor().to(device)
    memory, seconds = PeakMemory(device), []
    loaded, costs = _held(memory), Costs(memory)
    with torch.inference_mode():
        for _ in range(repeats):
            start = timer()
            mask = (inferer(image, network) > 0).cpu()
            seconds.append(timer() - start)
    memory.update()
    row = {"points": sum(inferer.inferer.evaluated[0]), "voxels": math.prod(image.shape[2:])}
    row |= {"seconds": min(seconds), "above_mib": costs.peak_mib - loaded}
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
    return row, {"device": name, "torch": torch.__version__, "memory": memory.kind}, mask.numpy()


def _held(memory: PeakMemory) -> float:
    """MiB that are held now."""
    if memory.device.type == "cuda":
        return torch.cuda.memory_allocated(memory.device) / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    run_command(measure, name="benchmarks.points_per_pass")
