"""Weights as a plain state dict in half precision: half the size, and readable by everything that reads state dicts."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import ensure_tuple
from torch import Tensor, nn

from common.checkpoints.mapping import import_state_dict
from common.command_line import is_out_of_memory
from common.files import whole_file

__all__ = ["load_tensors", "load_weights", "save_atomically", "save_weights"]


def save_atomically(obj: Any, path: str | Path) -> None:
    """``torch.save``, whole or not at all; the same object gives the same bytes (given a name, torch stores it too).

    Raises:
        OSError: naming ``path``, where it cannot be written: torch itself speaks of its archive then.
    """
    with whole_file(path) as partial, _Watched(partial) as file:
        try:
            torch.save(obj, file)
        except RuntimeError:
            if file.error is not None:
                raise file.error from None
            raise


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write the network's state dict to ``path``, floating tensors as float16, whole or not at all.

    ``network.load_state_dict(torch.load(path, weights_only=True))`` reads it back into a float32 network.

    Raises:
        ValueError: naming the tensors with values that are not finite, or too large for float16 (65504).
    """
    state = {key: _compact(value) for key, value in network.state_dict().items()}
    faults = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if faults:
        raise ValueError(
            f"{path}: not written, values not finite in float16 in {len(faults)} tensors ({', '.join(faults[:5])}"
            f"{', ...' if len(faults) > 5 else ''}): did the training diverge?"
        )
    save_atomically(state, path)


def load_weights(path: str | Path | Sequence[str | Path], network: nn.Module, *, name: str | None = None) -> None:
    """Load a file of :func:`save_weights` (or any state dict of this network) on the network's device and type.

    Only tensors are read (``weights_only=True``): a file cannot run code.

    Args:
        path: the file; several for the ``members`` of an ensemble, in their order.
        network: receives the weights.
        name: of the state dict in a file that holds several, as MONAI's ``CheckpointSaver`` writes it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no state dict, or does not fit the network, which is then unchanged; if there is not one
            file for each member.
    """
    for file, member in zip(ensure_tuple(path), getattr(network, "members", [network]), strict=True):
        state = load_tensors(file)
        if name is not None and isinstance(state.get(name), Mapping):
            state = state[name]
        try:
            import_state_dict(state, member)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


def load_tensors(path: str | Path) -> dict[Any, Any]:
    """What a file of :func:`torch.save` holds: tensors, numbers, text, lists and dicts, on the CPU; never code.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, holds anything else, or is no dict at the top.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights; train the model, or name another file")
    try:
        _check_size(path)
        # Afterwards torch forgets all that are named here; others may have named them for good.
        known = torch.serialization.get_safe_globals()
        added = [kind for kind in _numpy_numbers() if kind not in known]
        with torch.serialization.safe_globals(added), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # said of no file of torch.save
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the broken or hostile bytes lead to
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"{path}: cannot be read as weights: {_what_it_is(path, error)} ({type(error).__name__}); copy it again "
            "from where it was trained or published"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a state dict (name -> tensor)")
    return content


class _Watched(io.BufferedWriter):
    """A file to write that remembers why it could not be written."""

    error: OSError | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def _check_size(path: Path) -> None:
    """Raise ValueError for a zip that unpacks to more than its own size, which ``torch.save`` never writes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            unpacked = sum(entry.file_size for entry in file.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"unpacks to {unpacked / 1e6:,.0f} MB")


def _what_it_is(path: Path, error: Exception) -> str:
    """What a file that torch cannot read is, as far as that shows."""
    with path.open("rb") as file:
        begins = file.read(64).lstrip()
    if begins.startswith(b"<"):
        return "a web page"
    if begins.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, fetch the file itself with `git lfs pull`"
    if re.match(r"unpacks to", str(error)):
        return f"a zip bomb that {error}"
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f"holding more than tensors and numbers: {found[1]}" if found else "truncated, or not of torch.save"


def _numpy_numbers() -> list[Any]:
    """What a NumPy number is pickled as (V-Net's mean): by name, the old one too."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    return [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *kinds]


def _compact(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value
