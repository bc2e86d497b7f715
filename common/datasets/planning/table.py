"""A plan as text for people."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["plan_table"]

HIDDEN = {"reasons", "data", "cases", "about", "layouts", "bundle", "source"}
WIDE = 40  # characters of a value, from which its reason stands in the next line


def plan_table(plan: dict[str, Any]) -> str:
    """A line for each decision, with its reason; before them, what was measured.

    Args:
        plan: what :func:`~common.datasets.planning.make_plan` returned, or another one.
    """
    reasons = plan.get("reasons", {})
    rows = [(name, json.dumps(value), reasons.get(name, "")) for name, value in plan.items() if name not in HIDDEN]
    first = max(len(name) for name, *_ in rows)
    second = max((len(value) for _, value, _ in rows if len(value) <= WIDE), default=0)
    lines = [f"{'decision':<{first}}  {'value':<{second}}  why"] if reasons else []
    for name, value, reason in rows:
        if len(value) > second and reason:
            lines += [f"{name:<{first}}  {value}", f"{'':<{first}}  {'':<{second}}  {reason}"]
        else:
            lines.append(f"{name:<{first}}  {value:<{second}}  {reason}".rstrip())
    if data := plan.get("data"):
        shape, spacing = (" x ".join(f"{n:g}" for n in data[key]["median"]) for key in ("shape", "spacing_mm"))
        split = f"{data['train']} cases to train, {data['held_out']} held out; " if "train" in data else ""
        lines.insert(0, f"{split}{data['cases']} measured: median {shape} voxels (z, y, x) of {spacing} mm")
    return "\n".join(lines)
