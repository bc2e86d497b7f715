"""A config shows its augmentation: what happens, how often and how much, with no number left to Python's defaults."""

from __future__ import annotations

import inspect
import json
from numbers import Real
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle.config_item import ComponentLocator, ConfigComponent

LOCATOR = ComponentLocator()


def items(content: Any) -> list[dict[str, Any]]:
    """Every dict of a config, the inner ones too."""
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else []
    return [content] * isinstance(content, dict) + [item for part in inner for item in items(part)]


def is_numeric(value: Any) -> bool:
    several = isinstance(value, tuple) and bool(value) and all(map(is_numeric, value))
    return several or (isinstance(value, Real) and not isinstance(value, bool))


def hidden_numbers(item: dict[str, Any]) -> list[str]:
    """What a class with a probability takes from its defaults: every number of ours, of MONAI's the probability."""
    if not ConfigComponent.is_instantiable(item):
        return []
    made = locate(ConfigComponent(item, locator=LOCATOR).resolve_module_name())
    parameters = inspect.signature(made).parameters if inspect.isclass(made) else {}
    numbers = [name for name, parameter in parameters.items() if is_numeric(parameter.default)]
    asked = numbers if made.__module__.startswith("common.") else ["prob"]
    return [f"{item['_target_']}: {name}" for name in asked if "prob" in parameters and name not in item]


def test_random_changes_have_their_probability_and_their_numbers_in_the_config(bundle: Path) -> None:
    for file in sorted(bundle.glob("configs/**/*.json")):
        hidden = [number for item in items(json.loads(file.read_text())) for number in hidden_numbers(item)]
        assert hidden == [], file.name


def test_a_number_that_a_config_leaves_out_is_found() -> None:
    target = "common.transforms.RandGainGammad"
    assert hidden_numbers({"_target_": target, "keys": "image", "gain": [1, 1]}) == [
        f"{target}: prob",
        f"{target}: gamma",
    ]
    assert hidden_numbers({"_target_": "RandFlipd", "keys": "image"}) == ["RandFlipd: prob"]
