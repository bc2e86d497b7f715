"""The trained networks of several runs, of a cross-validation's folds for instance, as one model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from torch import nn

from common.checkpoints import load_weights
from common.datasets import read_plan

__all__ = ["ensemble_members"]

OF_A_FOLD = {"fold", "cases", "class_weights", "inputs_hash", "demonstration_only"}  # what inference does not need


def ensemble_members(network: nn.Module, folders: str | Path | Sequence[str | Path]) -> list[nn.Module]:
    """The network with the weights of each of some trainings.

    Args:
        network: built as the trained ones were, on its device; it is left as it is.
        folders: each holds ``model.pt`` and ``plan.json`` of a training; one folder makes an ensemble of one.

    Returns:
        One network for each folder, in their order.

    Raises:
        FileNotFoundError: if a folder lacks one of these files.
        ValueError: if the weights are another network's, or what the trainings' plans say of inference differs.
    """
    members: list[nn.Module] = []
    shared: dict = {}
    for folder in [folders] if isinstance(folders, str | Path) else folders:
        plan = read_plan(Path(folder) / "plan.json", network=network)
        own = {key: value for key, value in plan.items() if key not in OF_A_FOLD}
        shared = shared or own
        if own != shared:
            differing = ", ".join(sorted(key for key in own | shared if own.get(key) != shared.get(key)))
            raise ValueError(
                f"{folder}/plan.json: {differing} differs from the first member's; average trainings of one recipe only"
            )
        members.append(deepcopy(network))
        load_weights(Path(folder) / "model.pt", members[-1])
    return members
