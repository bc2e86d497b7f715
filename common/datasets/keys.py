"""What a result depends on, as JSON: transforms with their parameters, items, and the files in them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
import types
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from monai.bundle.reference_resolver import ReferenceResolver

__all__ = ["described", "digest", "item_key", "stamp"]

# What calls change, and no result depends on: random state, MONAI's thread-local switches, the files read last.
CALL_STATE = {"R", "_do_transform", "_tracing", "filenames"}
PLAIN = (PurePath, bytes, torch.dtype, torch.device, np.generic, np.dtype, np.ufunc)  # told apart by their text


def stamp(path: str | Path) -> list[int]:
    """Size in bytes and time in nanoseconds of a file: what tells other contents under the same name."""
    stat = Path(path).stat()
    return [stat.st_size, stat.st_mtime_ns]


def item_key(item: Mapping) -> list:
    """The item and the size and time of each file in it."""
    stats = []
    for value in item.values():
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, str | Path) and os.path.isfile(path):
                stats.append([str(path), *stamp(path)])
    return [described(item), stats]


def digest(key: Any) -> str:
    """Hash of JSON values, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def described(value: Any, above: tuple[int, ...] = ()) -> Any:
    """``value`` and its parameters as JSON, equal in every process; ``above`` (ids of its owners) stops cycles."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if id(value) in above:
        return "..."
    inner = functools.partial(described, above=(*above, id(value)))
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
