"""Strict import of a state dict whose keys have other names than the network's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["KeyMap", "MappedTensor", "import_state_dict", "rename_key"]

SHOWN = 5  # faults that a message lists

KeyMap = tuple[tuple[str, str], ...]
"""Rules (regular expression, replacement) that turn a foreign key into ours; applied in order with ``re.sub``.

A key of which nothing remains belongs to no part of the network and is left out."""


class MappedTensor(NamedTuple):
    """One line of the report of an import: foreign key, our key, shape."""

    source: str
    target: str
    shape: tuple[int, ...]


def rename_key(key: str, key_map: KeyMap) -> str:
    """Our name of the foreign ``key``: every rule applied once, in order.

    Example::

        >>> rename_key("out_transition.conv1.bias", VNET_KEYS)
        'output.conv.bias'
    """
    for pattern, replacement in key_map:
        key = re.sub(pattern, replacement, key)
    return key


def import_state_dict(source: Mapping[str, Any], network: nn.Module, key_map: KeyMap = ()) -> list[MappedTensor]:
    """Load ``source`` into ``network`` when every tensor of both sides has exactly one partner that fits.

    Floating tensors are converted to the network's type and device.

    Args:
        source: foreign state dict.
        network: receives the tensors; unchanged when the import is refused.
        key_map: rules from foreign keys to ours; none when the keys are ours.

    Returns:
        What was mapped, in the order of ``source``.

    Raises:
        ValueError: in one line, with the first faults: keys without partner on either side, two keys for one tensor,
            values that are no tensors, other shapes, integers for floats or the reverse, values that are not finite.
    """
    targets = network.state_dict()
    names = {key: name for key in source if (name := rename_key(key, key_map))}
    partners = Counter(names.values())
    faults = [f"missing: {name}" for name in targets if name not in partners]
    faults += [f"{count} keys for {name}" for name, count in partners.items() if count > 1]
    for key, name in names.items():
        shown = key if key == name else f"{key} (here {name})"
        if name not in targets:
            faults.append(f"unknown: {shown}")
        elif fault := _misfit(source[key], targets[name]):
            faults.append(f"{shown}: {fault}")
    if faults:
        listed = [*faults[:SHOWN], *([f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else [])]
        diverged = all(fault.endswith("not finite") for fault in faults)
        asked = "did the training diverge?" if diverged else "was it built with the same options?"
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise ValueError(f"the weights do not fit {type(network).__name__}, {count}; {asked} {'; '.join(listed)}")
    network.load_state_dict({name: source[key] for key, name in names.items()})
    return [MappedTensor(key, name, tuple(source[key].shape)) for key, name in names.items()]


def _misfit(value: Any, target: Tensor) -> str | None:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, expected a tensor"
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        return f"{value.layout} on {value.device}, expected a plain tensor"
    if value.shape != target.shape:
        return f"shape {tuple(value.shape)}, expected {tuple(target.shape)}"
    if value.is_floating_point() != target.is_floating_point():
        return f"{value.dtype}, expected {target.dtype}"
    if not torch.isfinite(value).all():
        return f"{int((~torch.isfinite(value)).sum())} values are not finite"
    return None
