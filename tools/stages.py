"""The stages of a pipeline as `monai.bundle` commands: which config files, which overrides, run one after the other."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fire.parser import DefaultParseValue

Overrides = dict[str, object]


@dataclass(frozen=True)
class Stage:
    """One `monai.bundle run`.

    Args:
        name: what a person calls it, and its output folder in the run's folder.
        run_id: id of what is run in the config.
        files: names in configs/, later ones merged onto earlier ones.
        multi_gpu: overlay in configs/ for more than one process.
        taken: ids that this stage takes over from a file it does not merge.
    """

    name: str
    run_id: str
    files: Sequence[str]
    multi_gpu: str
    taken: Overrides = field(default_factory=dict)


def knows(config: dict, key: str) -> bool:
    """Whether a config has the id that an override names: `epochs`, `train#trainer#max_epochs`, `run#0`.

    The last part may be new in a dict that makes an object (`network_def#norm`): it is that object's argument.
    """
    if key in config:
        return True
    node: object = config
    *parents, last = re.split(r"#|::", key)
    for part in parents:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return False
    if isinstance(node, list):
        return last.isdigit() and int(last) < len(node)
    return isinstance(node, dict) and (last in node or "_target_" in node)


def commands(
    configs: Path, stages: Sequence[Stage], *, paths: Overrides, given: Overrides, gpus: int = 1
) -> dict[str, list[str]]:
    """The command line of every stage.

    Args:
        configs: the bundle's configs/ folder.
        stages: what is to run.
        paths: knobs set for every stage that has them; `output_dir` is completed by the stage's name.
        given: overrides that a person gave; each goes to the stages whose config has it, and wins over `paths`.
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
        contents = [json.loads((configs / name).read_text()) for name in files]
        own = {key: value for key, value in given.items() if any(knows(content, key) for content in contents)}
        unknown -= set(own)
        settings = {key: value for key, value in paths.items() if any(key in content for content in contents)}
        settings["output_dir"] = str(Path(str(paths["output_dir"])) / stage.name)
        merged = [f"configs/{name}" for name in files]
        settings = {"config_file": merged if len(merged) > 1 else merged[0]} | stage.taken | settings | own
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={gpus}"] if gpus > 1 else []
        arguments = [f"--{key}={as_text(value)}" for key, value in settings.items()]
        planned[stage.name] = [sys.executable, *launcher, "-m", "monai.bundle", "run", stage.run_id, *arguments]
    if unknown:
        names = ", ".join(f"--{key}" for key in sorted(unknown))
        raise ValueError(f"{names}: no such id in the configs of {', '.join(planned)} ({configs})")
    return planned


def as_text(value: object) -> str:
    """A value as the command line's text that is parsed back to the same value: quoted where it must stay text."""
    text = str(value)
    if isinstance(value, str) and DefaultParseValue(text) != text:
        return repr(text)
    return text


def run_all(planned: dict[str, list[str]], *, cwd: Path) -> tuple[dict[str, float], int]:
    """Run commands one after the other in `cwd`, their output passed through, up to the first that fails.

    Returns:
        stage name -> wall time in seconds, of those that ran; exit code, as a shell gives it (128 + n for signal n).
    """
    seconds: dict[str, float] = {}
    for number, (name, command) in enumerate(planned.items(), start=1):
        print(f"\n[{number}/{len(planned)}] {name}, in {cwd}:\n{shlex.join(command)}", flush=True)
        start = time.perf_counter()
        try:
            code = subprocess.run(command, cwd=cwd, check=False).returncode
        except KeyboardInterrupt:
            code = -signal.SIGINT
        seconds[name] = time.perf_counter() - start
        if code:
            reason = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
            remedy = '; the same command with ARGS="--resume True" goes on from the last checkpoint'
            print(
                f"\n{name} {reason}, its messages are above{remedy if 'training' in command else ''}",
                file=sys.stderr,
                flush=True,
            )
            return seconds, code if code > 0 else 128 - code
    return seconds, 0
