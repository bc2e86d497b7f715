"""One measurement in a process of its own: ``python -m benchmarks.speed.worker JOB`` prints JSON."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.transforms import KeepLargestConnectedComponent, LoadImage
from torch.utils.benchmark import timer  # waits for a GPU

from benchmarks.alternatives import ALTERNATIVES
from benchmarks.speed.answers import answer_with_label
from benchmarks.speed.scenario import Scenario, tensors
from benchmarks.speed.sides import training_step, whole_case
from common.costs import Costs, PeakMemory
from common.inferers import OccupancyInferer
from common.kernels import reuse_freed_memory
from common.phantoms.files import write_nifti, write_nrrd
from common.transforms import SaveImageAsPredictiond

Result = dict[str, Any]
COLD, WARM, NO_CACHE = "bundle", "bundle, warm cache", "plain"
SIDES = {
    "step": ("bundle", "plain", *ALTERNATIVES),
    "case": ("bundle", "plain", *ALTERNATIVES),
    "loader": (COLD, WARM, NO_CACHE),
    "start": (COLD, WARM, NO_CACHE, *ALTERNATIVES),
}


def step(side: str, scenario: Scenario, costs: Costs) -> Result:
    """Seconds of a training step after a first one, which counts apart."""
    batch = scenario.batch()
    run = training_step(side, scenario, batch)
    first, seconds = _seconds(run), _seconds(run)
    return {"seconds": seconds, "first_s": first, "input": list(batch["image"].shape)}


def case(side: str, scenario: Scenario, costs: Costs) -> Result:
    """Seconds from a case's file to the written answer, and of each stage; points or patches evaluated."""
    with tempfile.TemporaryDirectory(dir=scenario.work) as output:
        evaluator = whole_case(side, scenario, Path(output))
        occupancy = getattr(evaluator.inferer, "inferer", None)
        points = isinstance(occupancy, OccupancyInferer)
        if points:
            answer_with_label(evaluator.network, occupancy, scenario)
        patches: list[int] = []
        evaluator.network.register_forward_hook(lambda module, inputs, out: patches.append(len(inputs[0])))
        evaluator.measure_costs(costs.memory)
        if scenario.device == "cuda":
            evaluator.run()  # the first case also chooses algorithms
            patches.clear()
        seconds = _seconds(evaluator.run)
        if evaluator.failures.count:
            raise RuntimeError(json.loads(evaluator.failures.path.read_text())[0]["reason"])
    evaluated = {"points": sum(map(sum, occupancy.evaluated))} if points else {"patches": sum(patches)}
    stages = {name: round(value, 4) for name, value in evaluator.state.costs.seconds.items()}
    return {"seconds": seconds, "stages": stages, **evaluated}


def loader(side: str, scenario: Scenario) -> Result:
    """Seconds for an item of the training's loader, over an epoch, from an empty or a full cache, or without one."""
    with _training(side, scenario) as parser:
        batches, sizes = parser.get_parsed_content("train#dataloader"), []
        seconds = _seconds(lambda: sizes.extend(len(batch["image"]) for batch in batches))
    return {"seconds": seconds / sum(sizes), "items": sum(sizes)}


def start(side: str, scenario: Scenario, began: float) -> Result:
    """Seconds from ``began`` (``time.time()``), when the process was started, to the end of the first training step.

    What a training finds out about its data first (class weights, the size of windows, folds) is given to all sides.
    The baselines read the cases as ``plain`` does.
    """
    with _training(side, scenario) as parser:
        if side in (COLD, WARM):
            trainer = parser.get_parsed_content("train#trainer")
            trainer.add_event_handler(Events.ITERATION_COMPLETED, _stop)
            with contextlib.suppress(_Stop):
                trainer.run()
        else:
            training_step(side, scenario, tensors(next(iter(parser.get_parsed_content("train#dataloader")))))()
        timer()
        return {"seconds": time.time() - began}


@contextlib.contextmanager
def _training(side: str, scenario: Scenario) -> Iterator[ConfigParser]:
    """The training config: with an empty cache, with the one that the preparation filled, or without one."""
    with tempfile.TemporaryDirectory(dir=scenario.work) as empty:
        paths = {"ckpt_dir": f"{empty}/models", "output_dir": f"{empty}/output"}
        cache = {COLD: {"cache_dir": f"{empty}/cache"}, WARM: {}}
        parser = scenario.training(**paths, **cache.get(side, {"cases": scenario.cases()}))
        if side not in cache:
            dataset = parser["train"]["dataset"]
            parser["train"]["dataset"] = {key: value for key, value in dataset.items() if key != "cache_dir"}
            parser["train"]["dataset"]["_target_"] = "monai.data.Dataset"
        yield parser


class _Stop(Exception):
    """The first iteration is over."""


def _stop() -> None:
    raise _Stop


def _seconds(run: Callable[[], Any]) -> float:
    begin = timer()
    run()
    return timer() - begin


def _load_libraries() -> None:
    """Load what a process loads once, with its first case."""
    import cc3d  # noqa: F401 - its loading is not to be timed
    import nrrd  # noqa: F401 - likewise

    with tempfile.TemporaryDirectory() as folder:
        for name, write in {"a.nrrd": write_nrrd, "a.nii.gz": write_nifti}.items():
            write(Path(folder, name), torch.ones(4, 4, 4, dtype=torch.uint8).numpy(), torch.eye(4).double().numpy())
            image = LoadImage(ensure_channel_first=True)(Path(folder, name))
            SaveImageAsPredictiond("pred", folder)({"case": "first", "image": image, "pred": image})
            KeepLargestConnectedComponent()(image)


def _limit_memory(device: str) -> None:
    """Let too large a measurement fail without affecting other processes."""
    if not sys.platform.startswith("linux"):
        return
    Path("/proc/self/oom_score_adj").write_text("1000")
    if device == "cpu":
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        resource.setrlimit(resource.RLIMIT_DATA, (free * 1024, resource.RLIM_INFINITY))


def measure(job: dict[str, Any]) -> Result:
    """Do one job: ``seconds``, ``peak_mib`` (not of loaders, who work in processes of their own), what the kind adds.

    Args:
        job: ``kind`` (``prepare``, ``step``, ``case``, ``loader`` or ``start``), ``side``, ``scenario`` (the arguments
            of a :class:`~benchmarks.speed.scenario.Scenario`) and ``began`` (``time.time()``).
    """
    kind, side, scenario = job["kind"], job["side"], Scenario(**job["scenario"])
    torch.manual_seed(0)
    if kind == "prepare":
        return scenario.prepare() or {}
    if side in (COLD, WARM):
        reuse_freed_memory(scenario.device)  # as a training does before it loads anything
    if kind == "loader":
        return loader(side, scenario)
    if kind == "case":
        _load_libraries()
    costs = Costs(PeakMemory(scenario.device))
    result = (
        start(side, scenario, job["began"])
        if kind == "start"
        else {"step": step, "case": case}[kind](side, scenario, costs)
    )
    costs.memory.update()
    return {**result, "peak_mib": costs.peak_mib}


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    _limit_memory(task["scenario"]["device"])
    print(json.dumps(measure(task)))
