"""The stages of a pipeline as `monai.bundle` commands: which config files, which overrides, run one after the other."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fire.parser import DefaultParseValue

from common.arguments import alike, knows
from common.command_line import memory_advice, without_remark
from common.files import PLAIN, as_expression, read_json
from tools.runs import training_states

Overrides = dict[str, object]
PATHS = ("bundle_root", "dataset_dir", "ckpt_dir", "output_dir", "cache_dir")  # knobs that are paths in every config


@dataclass(frozen=True)
class Stage:
    """One `monai.bundle run`.

    Args:
        name: what a person calls it, and its output folder in the run's folder.
        run_id: id of what is run in the config.
        files: names in configs/, later ones merged onto earlier ones.
        multi_gpu: overlay in configs/ for more than one process.
        taken: ids that this stage takes over from a file it does not merge.
        paths: knobs of this stage alone that are paths.
    """

    name: str
    run_id: str
    files: Sequence[str]
    multi_gpu: str
    taken: Overrides = field(default_factory=dict)
    paths: Overrides = field(default_factory=dict)


def commands(
    configs: Path, stages: Sequence[Stage], *, paths: Overrides, given: Overrides, gpus: int = 1
) -> dict[str, list[str]]:
    """The command line of every stage.

    Args:
        configs: the bundle's configs/ folder.
        stages: what is to run.
        paths: knobs set for every stage that has them; `output_dir` is completed by the stage's name.
        given: overrides as a person typed them; each goes to the stages whose config has it, and wins over `paths`.
        gpus: number of processes.

    Returns:
        stage name -> command.

    Raises:
        ValueError: an override that no config has (MONAI would add it without a word), or a missing overlay.
    """
    planned: dict[str, list[str]] = {}
    unknown = set(given)
    for stage in stages:
        files = [*stage.files, stage.multi_gpu] if gpus > 1 else list(stage.files)
        missing = [name for name in files if not (configs / name).is_file()]
        if missing:
            raise ValueError(f"{configs / missing[0]}: no such file, and the stage {stage.name} needs it")
        contents = [read_json(configs / name) for name in files]
        own = {key: typed(key, text) for key, text in given.items() if any(knows(content, key) for content in contents)}
        unknown -= set(own)
        knobs = {key: value for key, value in paths.items() if any(key in content for content in contents)}
        knobs |= stage.paths
        knobs["output_dir"] = str(Path(str(paths["output_dir"])) / stage.name)
        merged = [f"configs/{name}" for name in files]
        settings = {"config_file": merged if len(merged) > 1 else merged[0]} | stage.taken
        texts = {key: as_text(value) for key, value in settings.items()}
        texts |= {key: path_text(value) for key, value in knobs.items()} | own
        launcher = ["-m", "common.launch", "--standalone", f"--nproc_per_node={gpus}"] if gpus > 1 else []
        arguments = [f"--{key}={text}" for key, text in texts.items()]
        planned[stage.name] = [sys.executable, *launcher, "-m", "monai.bundle", "run", stage.run_id, *arguments]
    if unknown:
        names = ", ".join(f"--{key}" for key in sorted(unknown))
        ids = {name for path in configs.glob("*.json") for name in read_json(path)}
        where = f"{', '.join(planned)} ({configs})"
        raise ValueError(f"{names}: no such id in the configs of {where}{alike(unknown, ids)}")
    return planned


def as_text(value: object) -> str:
    """A value as the command line's text that is parsed back to the same value: quoted where it must stay text."""
    text = str(value)
    if isinstance(value, str) and DefaultParseValue(text) != text:
        return repr(text)
    return text


def path_text(value: object) -> str:
    """A path, or a list of paths, as the command line's text from which a config gets the same path.

    Fire makes numbers and lists of text, MONAI's config parser takes ``#``, ``@``, ``%`` and ``$`` for its own.
    """
    if isinstance(value, list | tuple):
        return "$[" + ", ".join(as_expression(str(item)).removeprefix("$") for item in value) + "]"
    text = str(value)
    plain = all(PLAIN.fullmatch(character) for character in text) and DefaultParseValue(text) == text
    return text if plain else as_expression(text)


def typed(key: str, text: object) -> str:
    """An override as a person typed it, for the stage to parse; a path among them stays text."""
    if key in PATHS and isinstance(text, str) and text[:1] not in tuple("$@%'\"["):
        return path_text(text)
    return str(text)


@dataclass(frozen=True)
class Outcome:
    """What became of the stages.

    Args:
        seconds: stage name -> wall time, of those that ran.
        code: exit code, as a shell gives it (128 + n for signal n).
        message: a line about the stage that failed; empty where the stage's own last line says all.
    """

    seconds: dict[str, float]
    code: int = 0
    message: str = ""


def run_all(
    planned: dict[str, list[str]],
    *,
    cwd: Path,
    models: Path | None = None,
    inherited: Sequence[int] = (),
    prepare: Callable[[str, list[str]], list[str]] = lambda name, command: command,
) -> Outcome:
    """Run commands one after the other in `cwd`, their output passed through, up to the first that fails.

    Args:
        planned: stage name -> command.
        cwd: where to run them.
        models: where a training leaves its states; None if nothing is trained.
        inherited: file descriptors that the commands keep open.
        prepare: stage name and command -> the command that is run, right before it is.
    """
    seconds: dict[str, float] = {}
    for number, (name, command) in enumerate(planned.items(), start=1):
        command = prepare(name, command)
        print(f"\n[{number}/{len(planned)}] {name}, in {cwd}:\n{shlex.join(command)}", flush=True)
        start, began = time.perf_counter(), time.time()
        code = run_one(command, cwd=cwd, inherited=inherited, environment=without_remark(os.environ))
        seconds[name] = time.perf_counter() - start
        if code:
            trained = models is not None and "training" in command
            states = training_states(models, since=began) if trained else []
            advice = memory_advice(_memory_knobs(command, cwd))
            message = _failure(name, code, resumable=bool(states), advice=advice)
            return Outcome(seconds, code if code > 0 else 128 - code, message)
    return Outcome(seconds)


def run_one(
    command: list[str],
    *,
    cwd: Path,
    inherited: Sequence[int],
    environment: Mapping[str, str],
    errors: IO[str] | None = None,
) -> int:
    """The exit code of a command (negative: the signal that ended it); Ctrl-C is for the command to act on.

    Where `errors` is a file, its stderr goes there, and its stdout nowhere.
    """
    streams = {"stdout": subprocess.DEVNULL, "stderr": errors} if errors else {}
    with subprocess.Popen(command, cwd=cwd, pass_fds=inherited, env=environment, **streams) as process:
        for wait in (None, 20, 20):  # a terminal interrupts the command too; who interrupts this process alone does not
            try:
                return process.wait(wait)
            except KeyboardInterrupt:
                continue
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
        process.kill()
        return -signal.SIGINT


def _memory_knobs(command: Sequence[str], cwd: Path) -> list[str]:
    """What needs less memory, as the last config file of a command that says so names it."""
    texts = [argument.partition("=")[2] for argument in command if argument.startswith("--config_file=")]
    files = DefaultParseValue(texts[0]) if texts else []
    for file in reversed([files] if isinstance(files, str) else files):
        content = read_json(cwd / file)
        for key in ("command", "+command"):
            if "memory_knobs" in content.get(key, {}):
                return content[key]["memory_knobs"]
    return []


def _failure(name: str, code: int, *, resumable: bool, advice: str) -> str:
    remedy = 'ARGS="--resume True" goes on from the last checkpoint' if resumable else ""
    if code == 128 + signal.SIGINT:  # it has said so itself
        return f"{name}: {remedy}" if remedy else ""
    if code == -signal.SIGINT:
        return f"{name}: interrupted; {remedy}" if remedy else f"{name}: interrupted"
    elif code in (-signal.SIGKILL, 128 + signal.SIGKILL):  # itself, or one of several processes
        reason = f"{name} was killed, most often for want of memory: {advice}"
    elif code < 0:
        reason = f"{name} was ended by signal {-code}"
    else:
        reason = f"{name} failed with exit code {code}, its message is above"
    return f"{reason}; {remedy}" if remedy else reason
