"""Training that starts from weights: everything that fits is taken, a first or last layer that differs is new."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
from torch import Tensor, nn

from common.checkpoints.mapping import import_state_dict
from common.checkpoints.weights import load_tensors
from common.datasets.stored import fingerprint, read_stored
from common.files import read_json

__all__ = ["init_record", "start_from", "training_states", "weights_file"]

logger = logging.getLogger(__name__)


class Sides(NamedTuple):
    """Channels at one end of a network: in the weights' file, and here."""

    theirs: int
    ours: int


def weights_file(init: str | Path, name: str = "model") -> Path | None:
    """The weights of a stage that ``init`` stands for.

    Args:
        init: a file of weights; or a folder with ``<name>.pt`` in it, or in its ``models/``: that of a run, or of a
            bundle.
        name: ``"model"``, or that of an earlier stage.

    Returns:
        The file; None where the folder holds the weights of other stages only.

    Raises:
        FileNotFoundError: if there is no such file or folder, or the folder holds no weights.
    """
    path = Path(str(init))  # the command line makes a number of 20240501
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"init={path}: no such file or folder of weights")
    for folder in (path, path / "models"):
        if (folder / f"{name}.pt").is_file():
            return folder / f"{name}.pt"
    if name != "model" and any((folder / "model.pt").is_file() for folder in (path, path / "models")):
        return None
    raise FileNotFoundError(
        f"init={path}: holds no {name}.pt, and neither does its models/; train there, or name others"
    )


def start_from(init: str | Path, network: nn.Module, *, name: str = "model") -> None:
    """Give a network the weights that ``init`` stands for.

    Every tensor of the same name and shape is taken. What differs at the network's two ends, because images have other
    channels or labels other structures, stays as it was initialized, and the log names it.

    Args:
        init: as for :func:`weights_file`.
        network: receives the weights; unchanged where they are refused.
        name: of the stage.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: in one line: the file is no state dict, or of a network that differs in more than its ends.
    """
    file = weights_file(init, name)
    if file is None:
        _say("%s: holds no %s.pt: this stage starts as initialized", init, name)
        return
    _check_plan(file, network)
    state = load_tensors(file)
    state = state["model"] if isinstance(state.get("model"), Mapping) else state
    targets = network.state_dict()
    fresh = _differing_ends(state, network)
    try:
        if 2 * len(fresh) > len(targets):  # a network of another width, whose ends happen to differ as much
            fresh = {}
        import_state_dict({**state, **{key: targets[key] for key in fresh}}, network)
    except ValueError as error:
        raise ValueError(f"init={file}: {error}") from None
    _say("started from %s: %d of %d tensors", file, len(targets) - len(fresh), len(targets))
    for key, (layer, sides) in fresh.items():
        _say("%s layer %s: %d channels instead of %d, new", layer, key, sides.ours, sides.theirs)


def init_record(init: str | Path | None, ckpt_dir: str | Path, *, resume: bool = False) -> dict[str, Any] | None:
    """What the plan notes of the weights that a training started from.

    Args:
        init: as for :func:`weights_file`; None for none.
        ckpt_dir: folder of the training, whose plan is asked where it goes on.
        resume: whether it goes on, if it has begun.

    Returns:
        None for a training that started from nothing; else ``weights`` (the file, named from its run's folder on),
        ``sha256``, and ``cases``, the names and hashes of those that these weights were trained on, where their plan
        says so.
    """
    if resume and training_states(ckpt_dir, "model"):
        plan = Path(ckpt_dir) / "plan.json"
        return read_json(plan).get("init") if plan.is_file() else None
    file = None if init is None else weights_file(init)
    if file is None:
        return None
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    run = [file.parent.parent.name] if file.parent.name == "models" else []
    plan = _plan_beside(file)
    known = plan.get("init") or {}
    cases = {*plan.get("cases", []), *plan.get("image_hashes", []), *known.get("cases", [])}
    return {"weights": "/".join([*run, file.parent.name, file.name]), "sha256": digest, "cases": sorted(cases)}


def training_states(ckpt_dir: str | Path, name: str) -> list[Path]:
    """The training states ``<name>_epoch=N.pt`` in a folder, oldest first."""
    found = []
    for file in Path(ckpt_dir).glob("*.pt"):
        stem, _, epoch = file.stem.rpartition("_epoch=")
        if stem == name and epoch.isdecimal():
            found.append((int(epoch), file))
    return [file for _, file in sorted(found)]


def _differing_ends(state: Mapping[Any, Any], network: nn.Module) -> dict[str, tuple[str, Sides]]:
    """The tensors that differ by the channels of the image or of the answer alone: name -> ("first" or "last", sides).

    The network's first and last weight tell how many channels the two have, there and here.
    """
    targets = network.state_dict()
    weights = [key for key, value in targets.items() if value.ndim > 1]
    if not weights:
        return {}
    ends = {
        "first": _sides(state, network, weights[0], into=True),
        "last": _sides(state, network, weights[-1], into=False),
    }
    fresh = {}
    for number, (key, target) in enumerate(targets.items()):
        value = state.get(key)
        if isinstance(value, Tensor) and value.ndim == target.ndim and value.shape != target.shape:
            fits = [end for end, sides in ends.items() if sides is not None and _scales(value, target, sides)]
            if fits:
                end = fits[0] if 2 * number < len(targets) else fits[-1]
                fresh[key] = (end, ends[end])
    return fresh


def _sides(state: Mapping[Any, Any], network: nn.Module, key: str, *, into: bool) -> Sides | None:
    """The channels that go into a weight, or come out of it, in the file and here; None where they are equal."""
    ours, theirs = network.state_dict()[key], state.get(key)
    if not isinstance(theirs, Tensor) or theirs.ndim != ours.ndim:
        return None
    transposed = getattr(network.get_submodule(key.rpartition(".")[0]), "transposed", False)
    axis = int(into) ^ int(transposed)
    sides = Sides(theirs.shape[axis], ours.shape[axis])
    return sides if sides.theirs != sides.ours else None


def _scales(value: Tensor, target: Tensor, sides: Sides) -> bool:
    """Whether shapes differ in channels alone, and these as the sides do: (16, 1, 3, 3, 3), (16, 4, 3, 3, 3): 1, 4."""
    channels = zip(value.shape[:2], target.shape[:2], strict=True)
    return value.shape[2:] == target.shape[2:] and all(
        a == b or a * sides.ours == b * sides.theirs for a, b in channels
    )


def _check_plan(file: Path, network: nn.Module) -> None:
    """Refuse weights of a network whose layers differ in what no weight shows, as the plan beside them says."""
    built = _plan_beside(file).get("network") if file.name == "model.pt" else None
    if built is not None and built != fingerprint(network):
        raise ValueError(
            f"init={file}: is of a network that was configured otherwise, as plan.json beside it says; merge the same "
            "overlays (paper.json, experiments/...) as in its training, or name other weights"
        )


def _plan_beside(file: Path) -> dict[str, Any]:
    plan = file.with_name("plan.json")
    return dict(read_stored(plan)) if plan.is_file() else {}


def _say(text: str, *values: object) -> None:
    if idist.get_rank() == 0:
        logger.info(text, *values)
