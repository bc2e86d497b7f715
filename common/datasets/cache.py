"""Deterministic preprocessing, computed once and kept on disk."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import monai
import numpy as np
import torch
from monai.bundle.reference_resolver import ReferenceResolver
from monai.data import PersistentDataset
from monai.transforms import Compose, RandomizableTrait, Transform
from monai.utils import convert_to_tensor

import common
from common.datasets.names import named_cases
from common.files import whole_file

__all__ = ["CachedDataset"]

# What calls change, and no result depends on: random state, MONAI's thread-local switches, the files read last.
CALL_STATE = {"R", "_do_transform", "_tracing", "filenames"}
PLAIN = (PurePath, bytes, torch.dtype, torch.device, np.generic, np.dtype, np.ufunc)  # told apart by their text

# A volume's metadata holds small NumPy arrays and MONAI's enums; torch.load(weights_only=True) takes them once these
# are named. Objects of any other kind stay refused.
torch.serialization.add_safe_globals(
    [np.ndarray, np.dtype, np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]]
    + [type(np.dtype(code)) for code in "?bhilqBHILQefdSU"]
    + [kind for kind in vars(monai.utils.enums).values() if isinstance(kind, type) and issubclass(kind, Enum)]
)


class CachedDataset(PersistentDataset):
    """MONAI's ``PersistentDataset`` with a key that holds all that a result depends on.

    A result is computed anew when the size or time of one of the item's files changes, when a parameter of a
    deterministic transform does, or with another version of MONAI or of this package. Nested ``Compose`` count as one
    list, so that what stands before the first random transform is kept. Files are written whole or not at all; several
    processes may share a folder; an unreadable file is computed again.

    Args:
        data: items whose values may be paths; those without a ``case`` get one (:func:`named_cases`).
        transform: deterministic transforms, then random ones.
        cache_dir: made if missing; None keeps nothing.
    """

    def __init__(self, data: Sequence[Mapping], transform: Callable | Sequence[Callable], cache_dir: str | Path | None):
        flat = (transform if isinstance(transform, Compose) else Compose(transform)).flatten()
        data = named_cases(data)
        try:
            super().__init__(data, flat, cache_dir, track_meta=True)
        except OSError as error:  # a full or read-only disk costs time, not the run
            warnings.warn(f"{cache_dir}: cannot be made ({error.strerror}); nothing is kept", stacklevel=2)
            super().__init__(data, flat, None, track_meta=True)
        self._full = False
        fixed = []
        for step in flat.transforms:
            if isinstance(step, RandomizableTrait) or not isinstance(step, Transform):
                break
            fixed.append(step)
        versions = [monai.__version__, common.__version__]
        self.transform_hash = _digest([versions, _described(fixed, ())])

    def set_data(self, data: Sequence[Mapping]) -> None:
        """Other items; what is kept stays, since the keys tell the items apart."""
        self.data = named_cases(data)

    def _cachecheck(self, item: Mapping) -> Any:
        if self.cache_dir is None:
            return self._pre_transform(deepcopy(item))
        path = self.cache_dir / f"{_digest([self.transform_hash, _item_key(item)])}.pt"
        try:
            return torch.load(path, weights_only=True, mmap=True, map_location="cpu")
        except FileNotFoundError:
            pass
        except Exception as error:  # torch raises errors of many kinds for a damaged file
            warnings.warn(f"{path}: cannot be read ({type(error).__name__}: {error}); computed again", stacklevel=2)
        result = convert_to_tensor(self._pre_transform(deepcopy(item)), convert_numeric=False, track_meta=True)
        try:
            with whole_file(path) as file:
                torch.save(result, file)
        except (OSError, RuntimeError) as error:  # of a full disk torch speaks as of a broken archive
            if not self._full:
                warnings.warn(f"{path}: cannot be kept ({str(error).splitlines()[0]})", stacklevel=2)
            self._full = True
        return result


def _item_key(item: Mapping) -> list:
    """The item and the size and time of each file in it."""
    stats = []
    for value in item.values():
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, str | Path) and os.path.isfile(path):
                stats.append([str(path), os.stat(path).st_size, os.stat(path).st_mtime_ns])
    return [_described(item, ()), stats]


def _digest(described: Any) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _described(value: Any, above: tuple[int, ...]) -> Any:
    """``value`` and its parameters as JSON, equal in every process; ``above`` (ids of its owners) stops cycles."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if id(value) in above:
        return "..."
    inner = functools.partial(_described, above=(*above, id(value)))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Mapping):
        return [kind, sorted(([str(k), inner(v)] for k, v in value.items()), key=lambda pair: pair[0])]
    if isinstance(value, list | tuple):
        return [inner(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(inner(v)) for v in value)
    if isinstance(value, torch.Tensor):
        return [kind, inner(value.detach().cpu().float().numpy() if value.is_floating_point() else value.cpu().numpy())]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, torch.nn.Module):
        return [kind, repr(value), inner(dict(value.state_dict()))]
    if isinstance(value, types.FunctionType):
        cells = [inner(cell.cell_contents) for cell in value.__closure__ or ()]
        defaults = [inner(value.__defaults__), inner(value.__kwdefaults__)]
        references = inner(_references(value.__code__, value.__globals__))
        return [value.__module__, value.__qualname__, inner(value.__code__), cells, defaults, references]
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), value.co_names, [inner(constant) for constant in value.co_consts]]
    if isinstance(value, functools.partial):
        return [kind, inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, type | types.BuiltinFunctionType | types.MethodType):
        return [value.__module__, value.__qualname__, inner(getattr(value, "__self__", None))]
    if isinstance(value, np.random.RandomState | np.random.Generator | types.ModuleType):
        return kind
    if hasattr(value, "__dict__") and not isinstance(value, PLAIN):
        state = {k: v for k, v in vars(value).items() if k not in CALL_STATE and not isinstance(v, threading.local)}
        return [kind, inner(state)]
    return [kind, str(value) if isinstance(value, PLAIN) else ""]


def _references(code: types.CodeType, names: Mapping[str, Any]) -> dict[str, Any]:
    """What the expressions of a config refer to with ``@id``: MONAI keeps it among the globals, by id."""
    content = names.get(ReferenceResolver._vars, {})
    codes, found = [code], {}
    while codes:
        constants = codes.pop().co_consts
        codes += [c for c in constants if isinstance(c, types.CodeType)]
        found |= {c: content[c] for c in constants if isinstance(c, str) and c in content}
    return found
