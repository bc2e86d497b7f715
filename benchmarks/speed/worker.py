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
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponent

from benchmarks.alternatives import ALTERNATIVES
from benchmarks.speed.answers import answer_with_label
from benchmarks.speed.scenario import Scenario, tensors
from benchmarks.speed.sides import parts_of, training_step, whole_case
from common.costs import Costs, PeakMemory
from common.inferers import OccupancyInferer
from common.kernels import reuse_freed_memory
from common.transforms import SaveImageAsPredictiond

Result = dict[str, Any]
COLD, WARM, NO_CACHE = "bundle", "bundle, warm cache", "plain"
SIDES = {
    "step": ("bundle", "plain", *ALTERNATIVES),
    "case": ("bundle", "plain", *ALTERNATIVES),
    "loader": (COLD, WARM, NO_CACHE),
    "start": (COLD, WARM, NO_CACHE, *ALTERNATIVES),
}


def step(side: str, scenario: Scenario) -> Result:
    """Seconds of a training step after a first one, which counts apart; peak memory of both."""
    batch = torch.load(scenario.batch_file, weights_only=True)
    costs = Costs(PeakMemory(scenario.device))
    run = training_step(side, scenario, batch)
    first, seconds = _timed(run, scenario), _timed(run, scenario)
    costs.memory.update()
    shape = list(batch["image"].shape)
    return {"seconds": seconds, "first_s": first, "peak_mib": costs.peak_mib, "input": shape}


def case(side: str, scenario: Scenario) -> Result:
    """Seconds from a case's file to the written answer, of each stage, peak memory, points or patches evaluated."""
    with tempfile.TemporaryDirectory(dir=scenario.work) as output:
        _load_libraries(f"{output}/first")
        costs = Costs(PeakMemory(scenario.device))
        evaluator = whole_case(side, scenario, Path(output))
        parts = parts_of(evaluator.inferer)
        points = [part for part in parts if isinstance(part, OccupancyInferer)]
        if points:
            answer_with_label(evaluator.network, points[0], scenario)
        patches: list[int] = []
        evaluator.network.register_forward_hook(lambda module, inputs, out: patches.append(len(inputs[0])))
        evaluator.memory = costs.memory
        if scenario.device == "cuda":
            evaluator.run()  # the first case also chooses algorithms
            patches.clear()
        seconds = _timed(evaluator.run, scenario)
        if evaluator.failures.count:
            raise RuntimeError(json.loads(evaluator.failures.path.read_text())[0]["reason"])
    costs.memory.update()
    evaluated = {"points": sum(map(sum, points[0].evaluated))} if points else {"patches": sum(patches)}
    stages = {name: round(value, 4) for name, value in evaluator.state.costs.seconds.items()}
    return {"seconds": seconds, "peak_mib": costs.peak_mib, "stages": stages, **evaluated}


def _load_libraries(folder: str) -> None:
    """What a process does once, with its first case: libraries load parts of themselves when these are first used."""
    import cc3d  # noqa: F401 - its loading is not to be timed
    import nrrd  # noqa: F401 - likewise

    save, answer = SaveImageAsPredictiond("pred", folder), MetaTensor(torch.ones(1, 4, 4, 4))
    for name in ("a.nrrd", "a.nii.gz"):
        save({"case": "first", "image": MetaTensor(answer, meta={"filename_or_obj": name}), "pred": answer})
    KeepLargestConnectedComponent()(answer)


def loader(side: str, scenario: Scenario) -> Result:
    """Seconds for an item of the training's loader, over an epoch, from an empty or a full cache, or without one."""
    items = 0
    with _training(side, scenario) as parser:
        batches = parser.get_parsed_content("train#dataloader")

        def epoch() -> None:
            nonlocal items
            items = sum(len(batch["image"]) for batch in batches)

        seconds = _timed(epoch, scenario)
    return {"seconds": seconds / items, "items": items}


def start(side: str, scenario: Scenario, began: float) -> Result:
    """Seconds from the start of the process to the end of the first training step.

    What a training finds out about its data first (class weights, the size of windows, folds) is given to all sides.

    Args:
        side: as for :func:`loader`, or a network that is taken instead, which reads the cases as ``plain`` does.
        scenario: the bundle, at a size.
        began: when the process was started, as ``time.time()`` says.
    """
    costs = Costs(PeakMemory(scenario.device))
    with _training(side, scenario) as parser:
        if side in (COLD, WARM):
            parser["train"]["handlers"].append(_First())
            with contextlib.suppress(_Done):
                parser.get_parsed_content("train#trainer").run()
        else:
            training_step(side, scenario, tensors(next(iter(parser.get_parsed_content("train#dataloader")))))()
        _wait(scenario)
        seconds = time.time() - began
    costs.memory.update()
    return {"seconds": seconds, "peak_mib": costs.peak_mib}


@contextlib.contextmanager
def _training(side: str, scenario: Scenario) -> Iterator[ConfigParser]:
    """The training config: with an empty cache, with the one that the preparation filled, or without one."""
    with tempfile.TemporaryDirectory(dir=scenario.work) as empty:
        paths = {"ckpt_dir": f"{empty}/models", "output_dir": f"{empty}/output"}
        if side == COLD:
            yield scenario.training(**paths, cache_dir=f"{empty}/cache")
        elif side == WARM:
            yield scenario.training(**paths)
        else:
            parser = scenario.training(**paths, cases=scenario.cases())
            dataset = parser["train"]["dataset"]
            parser["train"]["dataset"] = {k: v for k, v in dataset.items() if k != "cache_dir"}
            parser["train"]["dataset"]["_target_"] = "monai.data.Dataset"
            yield parser


class _Done(Exception):
    """The first iteration is over."""


class _First:
    """Ends a training after its first iteration."""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)

    def _end(self, engine: Engine) -> None:
        raise _Done


def _timed(run: Callable[[], Any], scenario: Scenario) -> float:
    _wait(scenario)
    begin = time.perf_counter()
    run()
    _wait(scenario)
    return time.perf_counter() - begin


def _wait(scenario: Scenario) -> None:
    if scenario.device == "cuda":
        torch.cuda.synchronize()


def _spare_the_machine(scenario: Scenario) -> None:
    """Too large a measurement is to fail by itself, and not to take other programs with it."""
    if not sys.platform.startswith("linux"):
        return
    Path("/proc/self/oom_score_adj").write_text("1000")
    if scenario.device == "cpu":
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        resource.setrlimit(resource.RLIMIT_DATA, (free * 1024, resource.RLIM_INFINITY))


def measure(job: dict[str, Any]) -> Result:
    """Do one job.

    Args:
        job: ``kind`` (``prepare``, ``step``, ``case``, ``loader`` or ``start``), ``side``, ``scenario`` (the arguments
            of a :class:`~benchmarks.speed.scenario.Scenario`) and ``began`` (``time.time()``).

    Returns:
        ``seconds``, ``peak_mib`` and what the kind adds.
    """
    scenario = Scenario(**job["scenario"])
    scenario.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if job["kind"] == "prepare":
        scenario.prepare()
        return {}
    if job["side"] in (COLD, WARM):
        reuse_freed_memory(scenario.device)  # as all configs do before they run
    if job["kind"] == "start":
        return start(job["side"], scenario, job["began"])
    return {"step": step, "case": case, "loader": loader}[job["kind"]](job["side"], scenario)


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    _spare_the_machine(Scenario(**task["scenario"]))
    print(json.dumps(measure(task)))
