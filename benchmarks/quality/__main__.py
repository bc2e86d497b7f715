"""The papers' networks, DynUNet and SegResNet on the Decathlon's hippocampus: behind `make benchmark-quality`.

All see the same folds, the same prepared and varied cases, and take the same number of steps; minutes are reported too.
A (network, fold) that is done has a result file and is not done again; one that was killed goes on from its last
checkpoint. So the command may be repeated until all is there.

Example::

    python -m benchmarks.quality --dataset_dir data/Task04_Hippocampus --networks dynunet,oss_net --folds 0
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.machine import listed
from benchmarks.quality.fold import FOLDS, Budget, run_fold
from benchmarks.quality.networks import RECIPES
from benchmarks.quality.report import markdown, plot, read_results
from common.command_line import run_command


def benchmark(
    dataset_dir: Path,
    networks: Sequence[str] | str = tuple(RECIPES),
    folds: Sequence[int] | int = (0,),
    steps: int = 500,
    batch_size: int = 2,
    cases: int | None = None,
    device: str | None = None,
    output: Path = Path("runs/benchmark_quality"),
) -> None:
    """Train and evaluate what is missing, then write quality.md and quality.png beside the result files.

    Args:
        dataset_dir: folder of Task04_Hippocampus.
        networks: names of bundles, dynunet or segresnet; default all.
        folds: of 0 to 4.
        steps: of training, for every network.
        batch_size: cases in a batch.
        cases: of the data set, to try something out; default all.
        device: cpu or cuda; default CUDA where present.
        output: folder of results, checkpoints and prepared cases.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    names = listed(networks)
    for name in names:
        if name not in RECIPES:
            raise SystemExit(f"--networks {name}: no such network; choose from {', '.join(RECIPES)}")
    folder = Path(output)
    budget = Budget(steps=steps, batch_size=batch_size, cases=cases)
    if any(folder.glob("*_fold*.json")) and read_results(folder)[0]["budget"] != vars(budget):
        raise SystemExit(f"{folder} has results of another budget; give another --output")
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    for fold in listed(folds):
        if not 0 <= fold < FOLDS:
            raise SystemExit(f"--folds {fold}: expected 0 to {FOLDS - 1}")
        for name in names:
            logging.info("%s, fold %d", name, fold)
            run_fold(name, fold, dataset_dir=str(dataset_dir), folder=folder, budget=budget, device=where)
            results = read_results(folder)
            (folder / "quality.md").write_text(markdown(results))
            plot(results, folder / "quality.png")
    print((folder / "quality.md").read_text())
    print(f"In {folder}: quality.md, quality.png, a result file for each network and fold")


if __name__ == "__main__":
    run_command(benchmark, name="benchmarks.quality")
