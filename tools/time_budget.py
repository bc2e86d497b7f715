"""Epochs that fit a time: `make train ARGS="--minutes 30"` times each training on this machine, then sets its epochs.

They are recorded in the plan with what was measured, so that the training can be repeated exactly on any machine.
"""

import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common.command_line import without_remark
from common.datasets.stored import read_stored
from common.files import TEXT, read_json, readable, whole_file
from tools.runs import training_states
from tools.stages import path_text, run_one

ROOT = Path(__file__).resolve().parent.parent
FIRST_STAGE = 0.25  # of the time that is left, for each stage before the last
EVALUATION = 2.0  # of a case, in validations of one: on the original grid, with surfaces and pictures
EVALUATION_S = 20.0  # until its first case
ENOUGH = 0.97  # of the time is planned with: no two epochs take the same
OURS = ("--ckpt_dir=", "--output_dir=", "--resume=")  # that the timing has of its own


def in_time(
    minutes: float | None,
    planned: Mapping[str, list[str]],
    *,
    models: Path | None,
    resume: bool,
    cwd: Path,
    inherited: Sequence[int],
) -> Callable[[str, list[str]], list[str]]:
    """What :func:`tools.stages.run_all` calls before each stage: it times a training, and gives it its epochs.

    Args:
        minutes: that all stages have from now on; None leaves every command as it is.
        planned: stage name -> command. A training that is not the last has a quarter of the time that is left.
        models: folder of the weights and the plan.
        resume: whether the epochs that the plan has from an earlier timing stay.
        cwd: where commands are run.
        inherited: file descriptors that they keep open.
    """
    trainings = [name for name, command in planned.items() if "training" in command]
    end = time.monotonic() + 60 * (minutes or 0)

    def prepare(name: str, command: list[str]) -> list[str]:
        if not minutes or name not in trainings:
            return command
        is_last = name == trainings[-1]
        key, plan_file = "epochs" if is_last else "first_stage_epochs", models / "plan.json"
        if resume and plan_file.is_file():
            plan = read_stored(plan_file)
            if key in plan.get("timing", {}):
                return [*command, f"--epochs={plan[key]}"]
        now = time.monotonic()
        part = (end - now) * (1 if is_last else FIRST_STAGE)
        print(f"\nTiming {name} for {part / 60:.1f} minutes", flush=True)
        found = _measured(command, max(1.0, part), models=models, cwd=cwd, inherited=inherited)
        plan = found.pop("plan")
        if not found:  # these cases need no such stage: it ends at once
            return command
        spent = time.monotonic() - now
        epochs, text = fitting_epochs(found, part - spent, evaluated=is_last)
        if not epochs:
            lacking = spent + seconds_of(1, found, evaluated=is_last) - part
            least = math.ceil(minutes + lacking / (1 if is_last else FIRST_STAGE) / 60)
            sys.exit(
                f"--minutes {minutes:g}: too little for an epoch of {name} ({text}); it needs about {least} minutes"
            )
        plan[key] = epochs
        plan.setdefault("reasons", {})[key] = f"{minutes:g} minutes on {_machine()}: {text}"
        rounded = {key: value if isinstance(value, int) else float(f"{value:.4g}") for key, value in found.items()}
        plan.setdefault("timing", {})[key] = {"minutes": minutes, **rounded}
        with whole_file(plan_file) as file:
            file.write_text(readable(plan), **TEXT)
        print(f"{epochs} epochs: {text}", flush=True)
        return [*command, f"--epochs={epochs}"]

    return prepare


def fitting_epochs(found: Mapping[str, float], seconds: float, *, evaluated: bool) -> tuple[int, str]:
    """How many epochs fit, and the measurements in words.

    Args:
        found: by :mod:`tools.timing`.
        seconds: from now to the end of the training, or of its evaluation.
        evaluated: whether an evaluation follows.
    """
    once = seconds_of(0, found, evaluated=evaluated)
    epochs = math.floor((seconds - once) / (seconds_of(1, found, evaluated=evaluated) - once))
    epoch_s = found["steps"] * found["step_s"] + found["epoch_s"]
    words = f"{found['steps']} steps of {found['step_s']:.3g} s, {epoch_s:.3g} s an epoch"
    return max(0, epochs), f"{words}; {found['validation_s']:.3g} s to validate {found['cases']} cases"


def seconds_of(epochs: int, found: Mapping[str, float], *, evaluated: bool) -> float:
    """What a training of so many epochs takes; arguments as for :func:`fitting_epochs`."""
    validation_s = found["validation_s"]
    epoch_s = found["steps"] * found["step_s"] + found["epoch_s"] + validation_s / found["interval"]
    after = EVALUATION_S + EVALUATION * validation_s if evaluated else 0.0
    return (found["start_s"] + epochs * epoch_s + validation_s + after) / ENOUGH


def _measured(
    command: Sequence[str], seconds: float, *, models: Path, cwd: Path, inherited: Sequence[int]
) -> dict[str, object]:
    """What :mod:`tools.timing` finds, on copies of what lies beside the weights."""
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".timing_", dir=models.parent) as scratch:
        copies, answer = Path(scratch) / "models", Path(scratch) / "answer.json"
        copies.mkdir()
        for file in set(models.glob("*.*")) - set(training_states(models)):  # a plan, a split, an earlier stage
            shutil.copy2(file, copies)
        start = next(n for n, word in enumerate(command) if word.startswith("--config_file="))
        words = [word for word in command[start:] if not word.startswith(OURS)]
        words += [f"--answer={answer}", f"--seconds={seconds}", "--resume=False"]
        words += [f"--ckpt_dir={path_text(copies)}", f"--output_dir={path_text(scratch)}"]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**without_remark(os.environ), "PYTHONPATH": path}
        with (Path(scratch) / "errors.txt").open("w+") as errors:
            timing = [sys.executable, "-m", "tools.timing", *words]
            code = run_one(timing, cwd=cwd, inherited=inherited, environment=environment, errors=errors)
            if code:
                errors.seek(0)
                sys.stderr.write(errors.read())
                sys.exit(code if code > 0 else 128 - code)
        return read_json(answer)


def _machine() -> str:
    """What computes, for the reason in the plan."""
    import torch  # takes seconds

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} cores with {torch.backends.cpu.get_cpu_capability()}"
