"""What a training costs on this machine: its cache is filled, then a few steps, validations and a checkpoint are timed.

Called like `monai.bundle run`, in the bundle's folder: `python -m tools.timing --config_file=... --answer=FILE`. What
the training writes on the way (states, curves) goes to `ckpt_dir` and `output_dir`, which are thrown away afterwards.
"""

import json
import time
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader

from common.command_line import run_command
from common.files import whole_file

EPOCHS = 2  # that are begun: the first one warms up
WARM_UP, STEPS, VALIDATION = 0.01, 0.03, 0.02  # of the time that the training has; each goes on as long as that
LONGEST_S = 30.0  # that each of them goes on
LEAST_STEPS, LEAST_CASES = 4, 2


def timing(config_file: str, answer: Path, seconds: float, **overrides: object) -> None:
    """Write the plan of a training, and what its parts take in seconds, as JSON.

    `{"plan": {...}, "steps": of an epoch, "step_s": seconds of one, "epoch_s": that an epoch takes besides its steps
    and its validation, "cases": that are validated, "validation_s": of all of them, "interval": epochs from one to the
    next, "start_s": until the first epoch}`; the plan alone for a first stage that these cases do not need.

    Args:
        config_file: as for `monai.bundle run`: files of a training.
        answer: JSON file to write.
        seconds: that the training has.
        overrides: of the config.

    Raises:
        ValueError: for settings with which the training would not start.
        DataError: for data that cannot be used.
    """
    began = time.monotonic()
    settings = {key: DefaultParseValue(text) for key, text in {"config_file": config_file, **overrides}.items()}
    settings["epochs"] = EPOCHS
    parser = ConfigWorkflow(**settings, workflow_type="train").parser
    for number in range(len(parser["run"]) - 1):  # all but the training itself
        parser.get_parsed_content(f"run#{number}")
    found: dict[str, Any] = {"plan": dict(parser.get_parsed_content("planned"))}
    if "needed" not in parser or parser.get_parsed_content("needed"):
        trainer, evaluator = (parser.get_parsed_content(name) for name in ("train#trainer", "validate#evaluator"))
        start_s = time.monotonic() - began
        workers = int(parser.get_parsed_content("num_workers"))
        for part in ("train", "validate"):
            _fill_cache(parser.get_parsed_content(f"{part}#dataset"), workers)
        clock, cases = _Clock(trainer), _Clock(evaluator)
        limits = [min(LONGEST_S, part * seconds) for part in (WARM_UP, STEPS)]
        trainer.add_event_handler(Events.ITERATION_COMPLETED, _end_epoch, clock, LEAST_STEPS, limits)
        limits = [min(LONGEST_S, VALIDATION * seconds)]
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, _end_epoch, cases, LEAST_CASES, limits)
        trainer.run()
        step_s = (clock.steps[-1] - clock.steps[0]) / max(1, len(clock.steps) - 1) or clock.steps[0] - clock.start
        validated_s = cases.end - cases.start
        found |= {
            "steps": len(trainer.data_loader),
            "step_s": step_s,
            "epoch_s": max(0.0, clock.end - clock.start - step_s * len(clock.steps) - validated_s),
            "cases": len(evaluator.data_loader),
            "validation_s": validated_s * len(evaluator.data_loader) / len(cases.steps),
            "interval": int(parser.get_parsed_content("val_interval")),
            "start_s": start_s,
        }
    with whole_file(answer) as file:
        file.write_text(json.dumps(found) + "\n")


class _Clock:
    """When an engine's last epoch began and ended, with all that its handlers did, and when each of its steps ended."""

    def __init__(self, engine: Engine) -> None:
        self.start = self.end = 0.0
        self.steps: list[float] = []
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.steps.append(time.monotonic()))
        engine.add_event_handler(Events.COMPLETED, self._end)  # after the checkpoint of the last epoch

    def _start(self) -> None:
        self.start, self.steps = time.monotonic(), []

    def _end(self) -> None:
        self.end = time.monotonic()


def _end_epoch(engine: Engine, clock: _Clock, least: int, seconds: list[float]) -> None:
    """End an epoch early when it has gone on long enough; `seconds` of the first one, and of those after it."""
    long_enough = time.monotonic() - clock.start > seconds[min(engine.state.epoch, len(seconds)) - 1]
    if len(clock.steps) >= least and long_enough:
        engine.terminate_epoch()


def _fill_cache(dataset: Any, workers: int) -> None:
    """Preprocess every case once, so that no timed step waits for what later ones find on the disk."""
    for _ in DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=_nothing):
        pass


def _nothing(batch: list[Any]) -> None:
    """Collate to nothing, so that no volume travels between processes."""


if __name__ == "__main__":
    run_command(timing, name="tools.timing")
