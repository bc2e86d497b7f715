"""From a file of published weights to what a bundle runs with: its own file, and plan.json beside it."""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import common
from common.checkpoints.mapping import MappedTensor, import_state_dict
from common.checkpoints.published import KEY_MAPS, Published, published_variant
from common.checkpoints.vox2vox import keras_state_dict
from common.checkpoints.weights import load_tensors
from common.datasets.plan import decisions_of, plan_recipe
from common.files import whole_file

__all__ = ["Imported", "bundle_folder", "import_published", "read_foreign"]

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "locator_model_state", "model")
"""What others call the state dict in a checkpoint that holds more."""


class Imported(NamedTuple):
    """What :func:`import_published` did.

    Attributes:
        mapped: every tensor: their key, ours, shape.
        left_out: their keys that belong to no part of the network, and what the checkpoint held beside it.
        plan: what plan.json beside the weights says; None if none was written.
        run: arguments of ``monai.bundle run`` that configure inference for these weights; None for a first stage's.
    """

    mapped: list[MappedTensor]
    left_out: list[str]
    plan: dict[str, Any] | None
    run: str | None

    def __str__(self) -> str:
        lines = [f"{source} -> {target} {shape}" for source, target, shape in self.mapped]
        if self.left_out:
            lines.append(f"no part of the network: {', '.join(self.left_out)}")
        return "\n".join([*lines, f"{len(self.mapped)} tensors, each with its place"])


def import_published(
    bundle: str | Path, source: str | Path, target: str | Path, *, variant: str | None = None
) -> Imported:
    """Write published weights, in the precision they have, under our names; all of them, or nothing.

    Only tensors and numbers are read: a file cannot run code. Beside the weights of a last stage, ``plan.json`` gets
    the settings of the bundle's configs with the overlays of this variant (and what the checkpoint itself tells:
    V-Net's crop size, mean and standard deviation), without which ``inference.json`` does not run.

    Args:
        bundle: name of a bundle, or its folder.
        source: their file: a state dict, or a checkpoint with one inside; keys may start with ``module.``. ``.npz``:
            the arrays of a Keras ``model.get_weights()``, in order (``np.savez(file, *arrays)``).
        target: file to write, ``model.pt`` or, of a first stage, as the bundle calls it; replaced if it exists.
        variant: which of the published networks; None where the bundle has one.

    Raises:
        FileNotFoundError: if there is no such bundle or file.
        ValueError: in one line, for an unknown variant; a file that is truncated, holds code or no state dict; a tensor
            without partner, of another shape, or not finite; or a ``plan.json`` that belongs to other weights.
    """
    home, source, target = bundle_folder(bundle), Path(source), Path(target)
    known = published_variant(home.name, variant)
    plan = target.with_name("plan.json")
    if known.settings and plan.is_file() and not target.is_file():
        raise ValueError(f"{plan}: belongs to other weights in this folder; name a folder of its own for {target.name}")
    network, settings = _configured(home, known)
    state, rest = read_foreign(source, network)
    try:
        mapped = import_state_dict(state, network, KEY_MAPS[type(network).__name__])
        if known.settings:
            settings |= known.settings(rest)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    written = None
    with whole_file(target) as partial:
        with partial.open("wb") as file:  # given a name, torch would store it too
            torch.save(network.state_dict(), file)
        if known.settings:
            written = plan_recipe(plan, [], network=network, settings=settings)
    left_out = [*(state.keys() - {line.source for line in mapped}), *rest]
    return Imported(mapped, sorted(left_out), written, _run(known) if known.settings else None)


def bundle_folder(bundle: str | Path) -> Path:
    """The folder of a bundle: itself, one beside ``common/`` in the repository, or the unzipped one around it.

    Raises:
        FileNotFoundError: if there is no such bundle.
    """
    root = Path(common.__file__).resolve().parents[1]
    unzipped = [root] if root.name == str(bundle) else []
    for folder in (Path(bundle), root / "bundles" / bundle, *unzipped):
        if (folder / "configs/train.json").is_file():
            return folder.resolve()
    known = ", ".join(sorted(path.parents[1].name for path in root.glob("bundles/*/configs/train.json"))) or root.name
    raise FileNotFoundError(f"{bundle}: no such bundle; name its folder, or one of {known}")


def read_foreign(path: str | Path, network: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """A state dict that others wrote, and what their checkpoint holds beside it.

    Args:
        path: as ``source`` of :func:`import_published`.
        network: names the arrays of a Keras list, which has no keys.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is truncated, holds code, or no state dict.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return _keras(path, network), {}
    content = load_tensors(path)
    wrapper = next((name for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
    state = dict(content if wrapper is None else content[wrapper])
    if not state or not all(isinstance(key, str) for key in state):
        raise ValueError(f"{path}: holds no state dict (name -> tensor), nor one under {', '.join(WRAPPERS)}")
    return state, {str(key): value for key, value in content.items() if key != wrapper} if wrapper else {}


def _keras(path: Path, network: nn.Module) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = [archive[f"arr_{n}"] for n in range(len(archive.files))]
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: cannot be read as arrays of np.savez(file, *model.get_weights()) ({type(error).__name__})"
        ) from error
    try:
        return keras_state_dict(arrays, network)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _configured(home: Path, known: Published) -> tuple[nn.Module, dict[str, Any]]:
    """The network, and the plan and settings that inference shares with training, as configs and variant say."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    configs = home / "configs"
    parser.read_config([str(configs / name) for name in ("train.json", *known.overlays)])
    parser.update({"bundle_root": str(home), **known.overrides})
    network = parser.get_parsed_content(known.network)
    if not known.settings:
        return network, {}
    decisions = decisions_of(parser.get_parsed_content("plan"))
    return network, {**decisions, **parser.get_parsed_content("recorded#settings")}


def _run(known: Published) -> str:
    files = [f"configs/{name}" for name in ("inference.json", *known.overlays)]
    overrides = {"config_file": files, **known.overrides, **known.inference}
    return " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in overrides.items())
