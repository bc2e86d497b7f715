"""`make plan`: a plan as a table, and wrong options in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.phantoms import write_task02_heart
from tools.pipeline import BUNDLES
from tools.plan import planned


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heart")
    write_task02_heart(str(folder), 2, 0)
    return folder


def test_a_plan_is_a_table_of_decisions_with_reasons_and_says_where_it_is(heart: Path, tmp_path: Path) -> None:
    text = planned(BUNDLES / "unet_liver_tumor", heart, tmp_path, {"memory_gb": "64"})
    assert str(tmp_path / "plan.json") in text
    assert "left atrium" in text and "median of the cases" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"memory_gb": "much"}, "--memory_gb much: expected a number"),
        ({"epochs": "3"}, "--epochs: no such knob of a plan"),
    ],
)
def test_a_wrong_option_is_named(heart: Path, tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        planned(BUNDLES / "unet_liver_tumor", heart, tmp_path, given)


def test_options_are_refused_where_a_plan_is_there_already(heart: Path, tmp_path: Path) -> None:
    bundle = BUNDLES / "unet_liver_tumor"
    planned(bundle, heart, tmp_path, {})
    assert "that is there already" in planned(bundle, heart, tmp_path, {})
    with pytest.raises(ValueError, match=r"--memory_gb: .*plan\.json is there already and stays; remove it"):
        planned(bundle, heart, tmp_path, {"memory_gb": "3"})
