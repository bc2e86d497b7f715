"""The weights of a trained network, or one line that says what is wrong with their file."""

from __future__ import annotations

from collections.abc import Sequence

import monai.handlers
from ignite.engine import Engine
from monai.utils import ensure_tuple

from common.checkpoints import load_weights

__all__ = ["CheckpointLoader"]


class CheckpointLoader(monai.handlers.CheckpointLoader):
    """MONAI's loader for weights, with the reason in one line where a file is damaged, hostile or of another network.

    Hosts tell it by its name, as MONAI's own: MONAI's federated client switches it off.

    Args:
        load_path: a file of :func:`common.checkpoints.save_weights`, any state dict, or one of several in a dict;
            several files for the members of an ensemble.
        load_dict: the name -> network that receives the weights.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no state dict, does not fit the network, or holds values that are not finite.
    """

    def __init__(self, load_path: str | Sequence[str], load_dict: dict) -> None:
        super().__init__(load_path, load_dict)

    def __call__(self, engine: Engine) -> None:
        for name, network in self.load_dict.items():
            load_weights(self.load_path, network, name=name)
        self.logger.info("loaded %s", ", ".join(map(str, ensure_tuple(self.load_path))))
