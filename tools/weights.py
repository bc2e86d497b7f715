"""Whose weights a pipeline uses: WEIGHTS= of an evaluation or a prediction, INIT= of a training."""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from common.checkpoints import weights_file
from common.datasets.demonstration import is_phantom
from common.files import read_json
from tools.runs import owner, training_states
from tools.variables import path_of

MODEL, PLAN = "model.pt", "plan.json"
STATE = re.compile(r"model_epoch=(\d+)\.pt")  # of the last stage


@dataclass(frozen=True)
class Weights:
    """A folder of weights.

    Args:
        models: the folder, which holds `model.pt`.
        run: the run's folder that it belongs to; None for those that a bundle ships.
    """

    models: Path
    run: Path | None

    @property
    def demonstration_only(self) -> bool:
        """Whether they were trained on generated phantoms."""
        return _plan(self.models).get("demonstration_only") is True

    @property
    def suffix(self) -> str:
        """What results of these weights on other data are told apart by, behind the data's name."""
        return "_shipped_weights" if self.run is None else f"_weights_of_{self.run.name}"

    def described(self) -> str:
        """Which weights, from when, and trained on what, in one line."""
        plan, file = _plan(self.models), self.models / MODEL
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime))
        cases = len(plan["cases"]) if isinstance(plan.get("cases"), list) else "unknown"
        trained = f"trained on {cases} cases"
        data = plan.get("dataset") or (None if self.run is None else _name_of_data(self.run))
        trained += f" of {data}" if data else ""
        trained += ", generated phantoms: demonstration only" if self.demonstration_only else ""
        shipped = ", shipped with the bundle" if self.run is None else ""
        return f"Weights: {file}{shipped}, of {when}, {trained}"


def choose(weights: str | None, *, run: str | None, bundle: Path, runs: Path, phantoms: bool) -> Weights:
    """The weights of an evaluation or a prediction; ends with one line where there are none.

    Args:
        weights: `shipped`, `latest` (the newest finished run in `runs`), or a folder: that of a run, or of the weights
            themselves. None: those of `run` where it has any; else the newest finished run's; else the shipped ones.
        run: folder that is written into.
        bundle: the bundle's folder.
        runs: folder of the bundle's runs.
        phantoms: whether the data was generated. A run on generated data is the newest one for such data only.
    """
    if weights == "shipped":
        return _checked(Weights(bundle / "models", None), bundle.name, "WEIGHTS=shipped")
    if weights not in (None, "latest"):
        return _checked(_in(path_of(weights, "WEIGHTS")), bundle.name, f"WEIGHTS={weights}")
    own = None if run is None or weights else _in(path_of(run, "RUN"))
    if own is not None and ((own.models / MODEL).is_file() or training_states(own.models)):
        return _checked(own, bundle.name, f"RUN={run}")
    newest = _newest_finished(runs, phantoms=phantoms)
    if newest is None and weights == "latest":
        sys.exit(f"WEIGHTS=latest: no finished training in {runs}{_why_none(runs, phantoms)}; {_remedy(bundle.name)}")
    return newest or _checked(Weights(bundle / "models", None), bundle.name, _why_none(runs, phantoms).strip(": "))


def initial(init: str | None, bundle: Path, *, resumed: bool) -> Path | None:
    """The file or folder of weights that INIT= names; ends with one line where it holds none.

    Args:
        init: `shipped`, a folder or a file.
        bundle: the bundle's folder.
        resumed: whether a training may go on from its own state, which needs none.
    """
    if init is None:
        return None
    path = bundle / "models" if init == "shipped" else path_of(init, "INIT")
    if resumed:
        return path
    try:
        weights_file(path)
    except FileNotFoundError as error:
        reason = f"{bundle.name} ships no weights" if init == "shipped" else str(error).partition(": ")[2]
        sys.exit(f"INIT={init}: {reason}")
    return path


def is_finished(models: Path) -> bool:
    """Whether the newest training in a folder of weights came to its end, as its last state says."""
    states = [(int(match[1]), path) for path in training_states(models) if (match := STATE.fullmatch(path.name))]
    if not states or not (models / MODEL).is_file():
        return False
    import torch

    try:  # its tensors stay on the disk
        state = torch.load(max(states)[1], map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whatever a damaged file makes torch.load raise
        return False
    return isinstance(state, dict) and state.get("finished") is True


def all_phantoms(data: list[Path]) -> bool:
    """Whether everything in a list of paths is, or lies in, a generated data set."""
    return all(any(is_phantom(folder) for folder in (path, *path.parents)) for path in data)


def _newest_finished(runs: Path, *, phantoms: bool) -> Weights | None:
    found = [Weights(file.parent, file.parent.parent) for file in runs.glob(f"*/models/{MODEL}")]
    found.sort(key=lambda one: (one.models / MODEL).stat().st_mtime, reverse=True)
    usable = (one for one in found if _plan(one.models) and (phantoms or not one.demonstration_only))
    return next((one for one in usable if is_finished(one.models)), None)


def _in(folder: Path) -> Weights:
    """The weights in a folder that a person named: that of a run, or of the weights themselves."""
    if (folder / MODEL).is_file() and not (folder / "models" / MODEL).is_file():
        return Weights(folder, folder.parent if folder.name == "models" else folder)
    return Weights(folder / "models", folder)


def _checked(chosen: Weights, bundle: str, given: str) -> Weights:
    if not (chosen.models / MODEL).is_file():
        remedy = _remedy(bundle)
        if training_states(chosen.models):
            remedy = 'its training has not validated yet: go on with `make train ... ARGS="--resume True"`'
        sys.exit(f"{f'{given}: ' if given else ''}{chosen.models / MODEL}: no such weights; {remedy}")
    return chosen


def _remedy(bundle: str) -> str:
    return f"`make train BUNDLE={bundle} DATASET_DIR=...` first, or name a folder with WEIGHTS="


def _why_none(runs: Path, phantoms: bool) -> str:
    """What was passed over, for a person who expects it to be used."""
    names = [file.parent.parent.name for file in runs.glob(f"*/models/{MODEL}")]
    kinds = "only trainings that are unfinished" + ("" if phantoms else ", or on generated phantoms")
    return f": {kinds} ({', '.join(sorted(names))})" if names else ""


def _name_of_data(run: Path) -> str | None:
    """The name of the data that a run is about, as it noted."""
    noted = owner(run)
    return None if noted is None else ", ".join(Path(line).name for line in noted.decode(errors="replace").split("\n"))


def _plan(models: Path) -> dict:
    """What the plan beside weights says; nothing where it is missing or damaged, which whoever uses them says."""
    try:
        return read_json(models / PLAN)
    except (FileNotFoundError, ValueError):
        return {}
