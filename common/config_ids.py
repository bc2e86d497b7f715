"""Which names an override of a config may have: one that no config has would be added, and ignored, without a word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["alike", "knows"]


def knows(config: Mapping[str, Any], key: str) -> bool:
    """Whether a config has the id that an override names: ``epochs``, ``train#trainer#max_epochs``, ``run#0``.

    The last part may be new in a dict that makes an object (``network_def#norm``): it is that object's argument.
    """
    if key in config:
        return True
    node: object = config
    *parents, last = re.split(r"#|::", key)
    for part in parents:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return False
    if isinstance(node, list):
        return last.isdigit() and int(last) < len(node)
    return isinstance(node, dict) and (last in node or "_target_" in node)


def alike(unknown: Iterable[str], ids: Iterable[str]) -> str:
    """The ids that wrong ones may be meant as, as a question; empty where none is like them."""
    ids = list(ids)
    meant = [f"--{name}" for key in sorted(unknown) for name in difflib.get_close_matches(key, ids, n=1)]
    return f"; did you mean {', '.join(meant)}?" if meant else ""
