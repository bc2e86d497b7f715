"""Numbers stored as readable JSON beside the model, and read again in inference."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from torch import nn

from common.datasets.shards import run_on_rank_zero
from common.files import TEXT, read_json, readable, whole_file
from common.knobs import wrong_values

__all__ = ["REMEDY", "check_values", "fingerprint", "plan_once", "read_plan", "read_stored"]

logger = logging.getLogger(__name__)

REMEDY = "copy the file that was written with the weights"


class Stored(dict):
    """What a JSON file holds; a value that it lacks is named with the file.

    Args:
        content: the values by name.
        path: the file.
    """

    def __init__(self, content: dict[str, Any], *, path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self.path}: {name} is missing; {REMEDY}")

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


def plan_once(
    path: str | Path, inputs: dict[str, Any], compute: Callable[[], dict[str, Any]], *, weights: str | None = None
) -> dict[str, Any]:
    """The stored result for these inputs, or a new one: computed and written whole by rank 0, told to every rank.


    Args:
        path: JSON file; one that was computed from other inputs is replaced.
        inputs: everything the result depends on, JSON-serializable; only its hash is stored.
        compute: does the work.
        weights: name of a file beside it that needs these numbers. Where values are replaced that such a file was
            trained with, its hash is noted, and :func:`read_plan` refuses it until the training has replaced it.
    """
    path = Path(path)
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]

    def plan() -> dict[str, Any]:
        if _key(path) != key:
            content = compute()
            earlier = _weights_of_others(path, content, path.with_name(weights)) if weights else None
            content |= {"inputs_hash": key} | ({"earlier_weights": earlier} if earlier else {})
            with whole_file(path) as file:
                file.write_text(readable(content), **TEXT)
            logger.info("planned %s", path)
        return read_stored(path)

    return run_on_rank_zero(plan)


def read_stored(path: str | Path) -> dict[str, Any]:
    """What :func:`plan_once` stored.

    Raises:
        FileNotFoundError: if there is no such file: the weights beside it cannot be used without.
        ValueError: if it is no JSON object; also of the result, where it is asked for a value that it lacks.
    """
    missing = f"the plan of the training is missing; it belongs beside the weights: {REMEDY}, or train"
    return Stored(read_json(path, remedy=REMEDY, missing=missing), path=Path(path))


def read_plan(path: str | Path, *, network: nn.Module | None = None) -> dict[str, Any]:
    """The plan of a training, which inference reads.

    Args:
        path: JSON file beside the weights.
        network: the network that the weights are for; it must be built as the trained one was. Weights alone do not
            tell: instance normalization has no parameters, dilation no shape.

    Raises:
        FileNotFoundError: if there is no such file: the weights beside it cannot be used without.
        ValueError: if it is no JSON, lacks a value or holds an impossible one, or if the network is another one.
    """
    plan = read_stored(path)
    faults = [f"{name} is missing" for name in ("network", "cases", "demonstration_only") if name not in plan]
    if not isinstance(plan.get("cases", []), list):
        faults += [f"cases must be a list of names, got {plan['cases']!r}"]
    if not isinstance(plan.get("demonstration_only", False), bool):
        faults += [f"demonstration_only must be true or false, got {plan['demonstration_only']!r}"]
    if faults:
        raise ValueError(f"{path}: {'; '.join(faults)}; {REMEDY}")
    check_values(plan, path)
    if plan["demonstration_only"] and idist.get_rank() == 0:
        logger.warning("the weights were trained on generated phantoms: demonstration only, not for patients")
    weights = Path(path).with_name("model.pt")
    if "earlier_weights" in plan and plan["earlier_weights"]["weights"] == _hash(weights):
        raise ValueError(
            f"{weights}: is of an earlier training than {path}, whose own has not stored weights yet; go on with that "
            f"training (--resume True), or {REMEDY}"
        )
    if network is not None and plan["network"] != fingerprint(network):
        raise ValueError(
            f"{path}: the weights beside it are of a network that was configured otherwise; "
            "merge the same overlays (paper.json, experiments/...) as in its training"
        )
    return plan


def check_values(plan: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The plan, unless a value in it is impossible.

    Raises:
        ValueError: naming the file, the values and what was expected.
    """
    faults = wrong_values({name: value for name, value in plan.items() if name != "crop_size"})
    if plan.get("crop_size") is not None:
        faults += [text.replace("patch", "crop_size") for text in wrong_values({"patch": plan["crop_size"]})]
    if "std" in plan and not _is_above_0(plan["std"]):
        faults += [f"std must be a number above 0, got {plan['std']!r}"]
    if faults:
        raise ValueError(f"{path}: {'; '.join(faults)}; {REMEDY}")
    return plan


def fingerprint(network: nn.Module) -> str:
    """Fingerprint of how a network is built: the kinds of its layers in order, and what no weight shows."""
    layers = [(_kind(layer), getattr(layer, "dilation", None)) for layer in network.modules()]
    return hashlib.sha256(json.dumps(layers).encode()).hexdigest()[:16]


def _weights_of_others(path: Path, content: dict[str, Any], weights: Path) -> dict[str, str] | None:
    """Hashes of the weights beside a file, and of the values that they need, where these are not ``content``."""
    if not weights.is_file() or not path.is_file():
        return None
    found, owner = _hash(weights), ""
    try:
        before = dict(read_stored(path))
        mark = before.pop("earlier_weights", None)
        owner = mark["numbers"] if mark and mark["weights"] == found else _digest(before)
    except ValueError:
        logger.warning("%s: damaged, so %s is of an unknown training", path, weights)
    return None if owner == _digest(content) else {"weights": found, "numbers": owner}


def _digest(values: dict[str, Any]) -> str:
    """SHA-256 of values, whatever inputs they were derived from."""
    values = {name: value for name, value in values.items() if name != "inputs_hash"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _hash(file: Path) -> str | None:
    """SHA-256 of a file, or None where there is none."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is_above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _key(path: Path) -> str | None:
    """What the stored numbers were computed from; None where there are none that can be read."""
    try:
        return read_stored(path).get("inputs_hash") if path.is_file() else None
    except ValueError as error:
        logger.warning("%s: written anew", error)
        return None


def _kind(layer: nn.Module) -> str:
    """Name of a layer's class; of torch's own where it computes one of them in another way."""
    kinds = [kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn.")]
    computed = not list(layer.children()) and kinds[0] is not nn.Module
    return (kinds[0] if computed else type(layer)).__name__
