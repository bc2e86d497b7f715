"""Any bundle lists its sound phantoms, and says what it expected of a folder without cases."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from common.command_line import describe_error
from common.datasets.layouts.registry import LAYOUTS


@pytest.fixture
def data(sample_data: Path, tmp_path: Path) -> Path:
    """The phantoms, for a test to damage: links, so that it costs nothing."""
    return Path(shutil.copytree(sample_data, tmp_path / "data", copy_function=os.link))


@pytest.fixture
def cases(bundle: Path, tmp_path: Path) -> Callable[[Path], list]:
    """``cases(dataset_dir)``: what the bundle's train.json makes of a folder."""

    def check(dataset_dir: Path) -> list:
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs/train.json"))
        parser.update({"dataset_dir": str(dataset_dir), "cache_dir": str(tmp_path / "cache")})
        return parser.get_parsed_content("cases")

    return check


def listed(bundle: Path, folder: Path) -> list[dict[str, str]]:
    return LAYOUTS[json.loads((bundle / "configs/plan.json").read_text())["layout"]](folder).cases


def test_sound_phantoms_pass(cases: Callable, data: Path, bundle: Path) -> None:
    assert [case["case"] for case in cases(data)] == [case["case"] for case in listed(bundle, data)]


@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_cases_is_named_with_what_was_expected(folder: str, cases: Callable, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError) as error:
        cases(tmp_path / folder)
    assert re.match(rf"{tmp_path / folder}.*expected", describe_error(error.value))
