"""A plan that is committed with weights names no case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.datasets.identity import is_hash

PLANS = sorted(Path(__file__).parents[2].glob("bundles/*/models/plan.json"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.parents[1].name)
def test_the_cases_that_shipped_weights_were_trained_on_are_named_by_hash(path: Path) -> None:
    plan = json.loads(path.read_text())
    cases = [*plan["cases"], *(plan.get("init") or {}).get("cases", [])]
    assert plan["cases"] and all(map(is_hash, cases))
    assert plan["image_hashes"] and all(map(is_hash, plan["image_hashes"]))
