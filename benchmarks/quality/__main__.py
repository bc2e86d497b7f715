"""The bundles, DynUNet and SegResNet on data sets of your own: behind `make benchmark-quality`.

Each network is trained as `make train` trains it, by its bundle's plan, in the same time, with no setting of its own;
DynUNet and SegResNet by the U-Net's plan, in its place. What is finished is not done again, what was killed goes on,
so the command may be repeated until all is there.

Example::

    python -m benchmarks.quality --dataset_dir data/Task04_Hippocampus --networks dynunet,oss_net --folds 0,1
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.bundles import BUNDLES, bundle_names
from benchmarks.machine import describe_machine, listed
from benchmarks.quality.report import markdown, plot, read_results
from common.command_line import run_command
from common.files import read_json, whole_file

ROOT = BUNDLES.parent
IN_PLACE_OF_THE_UNET = ("dynunet", "segresnet")
METRICS = ("dice", "hd95_mm", "nsd", "missed")


def benchmark(
    dataset_dir: str,
    networks: Sequence[str] | str = (),
    folds: Sequence[int] | int = (0,),
    minutes: float = 15.0,
    output: Path = Path("runs/benchmark_quality"),
) -> None:
    """Train and evaluate what is missing, then write quality.md and quality.png beside the result files.

    Args:
        dataset_dir: folder of a data set, or several separated by commas.
        networks: names of bundles, dynunet or segresnet; default all.
        folds: of 0 to 4.
        minutes: for each fold of a network, from the timing to the end of the evaluation.
        output: folder of results and runs.
    """
    known = [*bundle_names(), *IN_PLACE_OF_THE_UNET]
    names = listed(networks) or known
    for name in names:
        if name not in known:
            raise SystemExit(f"--networks {name}: no such network; choose from {', '.join(known)}")
    folder, wanted = Path(output).absolute(), sorted(int(fold) for fold in listed(folds))
    failed = []
    for data in map(Path, dataset_dir.split(",")):
        for name in names:
            run = folder / data.name / name
            if train(name, data, run=run, folds=wanted, minutes=minutes):
                failed.append(f"{name} on {data.name}")
                continue
            with whole_file(folder / f"{data.name}_{name}.json") as file:
                file.write_text(json.dumps(result(name, data.name, run, minutes=minutes), indent=1) + "\n")
            results = read_results(folder)
            (folder / "quality.md").write_text(markdown(results))
            plot(results, folder / "quality.png")
    if (folder / "quality.md").is_file():
        print((folder / "quality.md").read_text())
        print(f"In {folder}: quality.md, quality.png, a result file for each data set and network")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; their messages are above")


def train(name: str, data: Path, *, run: Path, folds: Sequence[int], minutes: float) -> int:
    """Train and evaluate the folds of a network that are not finished; the exit code.

    Args:
        name: of a bundle, dynunet or segresnet.
        data: folder of the data set.
        run: folder of the run.
        folds: which.
        minutes: for each.
    """
    overlays = []
    if name in IN_PLACE_OF_THE_UNET:
        overlays = [f"--merge={os.path.relpath(Path(__file__).with_name(f'{name}.json'), BUNDLES / 'x/configs')}"]
    words = [f"--bundle={'unet_liver_tumor' if overlays else name}", f"--dataset_dir={data.absolute()}", *overlays]
    words += [f"--run={run}", f"--cross_validate={','.join(map(str, folds))}", f"--minutes={minutes * len(folds)}"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tools.pipeline", "train", *words]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode


def result(name: str, data: str, run: Path, *, minutes: float) -> dict[str, object]:
    """What a finished run has: its metrics, the course of its trainings, and where they ran.

    Args:
        name: of the network.
        data: name of the data set.
        run: folder of the run.
        minutes: that each fold had.
    """
    metrics = read_json(run / "evaluation/metrics.json")
    trainings = []
    for fold in metrics["folds"]:
        models = run / f"fold_{fold}/models"
        plan, weights = read_json(models / "plan.json"), torch.load(models / "model.pt", weights_only=True)
        newest = max(models.glob("model_epoch=*.pt"), key=lambda file: int(file.stem.split("=")[1]))
        curve = torch.load(newest, weights_only=True, map_location="cpu")["objects"]["learning_curve"]["metrics"]
        training = {"fold": fold, "epochs": plan["epochs"], "steps": plan["epochs"] * plan["timing"]["epochs"]["steps"]}
        training["parameters"] = sum(tensor.numel() for tensor in weights.values())
        trainings.append(training | {"curve": sorted([int(epoch), float(dice)] for epoch, dice in curve.items())})
    rows = [
        {key: row[key] for key in ("case", "fold", "structure", *METRICS)}
        for row in metrics["cases"]
        if not row.get("failure")
    ]
    about = {"network": name, "data": data, "minutes": minutes, "machine": describe_machine()}
    return {**about, "trainings": trainings, "rows": rows}


if __name__ == "__main__":
    run_command(benchmark, name="benchmarks.quality")
