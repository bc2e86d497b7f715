"""What ``dataset.json`` says of channels and structures, in the Decathlon's words and in nnU-Net's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.datasets.errors import DataError
from common.datasets.layouts.data_set import modality_named
from common.files import read_json

__all__ = ["LISTING", "described_by", "read_listing"]

LISTING = "dataset.json"
IGNORE = "ignore"


def read_listing(listing: Path) -> dict[str, Any]:
    """The file's content.

    Raises:
        DataError: if it cannot be read, or is no JSON object.
    """
    try:
        return read_json(listing)
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from None


def described_by(content: dict[str, Any], listing: Path) -> dict[str, Any]:
    """The fields of a :class:`DataSet` that the file tells.

    Args:
        content: with ``modality`` or ``channel_names`` (number -> name); and ``labels``, value -> name as the Decathlon
            has them, or name -> value (or values, of a region) as nnU-Net has them, where ``ignore`` is no structure.
        listing: the file, for messages.

    Returns:
        ``channels``, ``modality``, ``structures``, ``regions_class_order`` and ``ignore``.

    Raises:
        DataError: for other forms of these.
    """
    channels = _channels(content, listing)
    structures = _structures(content.get("labels"), listing)
    ignore = structures.pop(IGNORE, None)
    if isinstance(ignore, list):
        raise DataError(f"{listing}: the label ignore is {ignore}, expected one value")
    order = content.get("regions_class_order", [])
    regions = any(isinstance(values, list) for values in structures.values())
    if not _are_values(order) or (regions and len(order) != len(structures)):
        raise DataError(
            f"{listing}: regions_class_order is {order}, expected a label value for each of {', '.join(structures)}"
        )
    return {
        "channels": channels,
        "modality": modality_named(channels),
        "structures": structures,
        "regions_class_order": tuple(order) if regions else (),
        "ignore": ignore,
    }


def _channels(content: dict[str, Any], listing: Path) -> tuple[str, ...]:
    named = content.get("channel_names", content.get("modality", {}))
    if isinstance(named, str):
        named = {"0": named}
    if isinstance(named, list):
        named = {str(k): name for k, name in enumerate(named)}
    if not isinstance(named, dict) or sorted(map(str, named)) != sorted(map(str, range(len(named)))):
        raise DataError(f'{listing}: the channels are {named}, expected names by number: {{"0": "T1w", "1": "FLAIR"}}')
    return tuple(str(named[key]) for key in sorted(named, key=int))


def _structures(labels: Any, listing: Path) -> dict[str, int | list[int]]:
    """Name -> value or values, without the background, which is the value 0."""
    fault = (
        f'{listing}: labels are {labels}, expected {{"background": 0, "liver": 1}} or {{"0": "background", "1": ...}}'
    )
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise DataError(fault)
    found: dict[str, int | list[int]] = {}
    for key, value in labels.items():
        if isinstance(value, str) and str(key).isdigit():  # the Decathlon's
            name, values = value.strip() or f"structure {key}", int(key)
        elif isinstance(value, str) and value.isdigit():
            name, values = str(key), int(value)
        else:
            name, values = str(key), value
        if not _are_values(values if isinstance(values, list) else [values]) or values == [] or name in found:
            raise DataError(fault)
        if values not in (0, [0]):
            found[name] = values
    return found


def _are_values(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values)
