"""What MONAI would pass over without a word on its command line is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.arguments import check_arguments, knows


@pytest.mark.parametrize("key", ["a", "a#b", "a::b", "a#c", "list#1", "list#0#b"])
def test_an_id_of_the_config_is_known(key: str) -> None:
    assert knows({"a": {"_target_": "T", "b": 1}, "list": [{"b": 1}, 2]}, key)


@pytest.mark.parametrize("key", ["b", "a#c", "a#b#c", "list#2", "list#x", "x#b"])
def test_an_id_that_the_config_lacks_is_unknown(key: str) -> None:
    assert not knows({"a": {"b": 1}, "list": [1, 2]}, key)


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """The words of a command that runs two files, which have the ids epochs, network_def and output."""
    (tmp_path / "a.json").write_text(json.dumps({"epochs": 1, "network_def": {"_target_": "T"}}))
    (tmp_path / "b.json").write_text(json.dumps({"output": "x"}))
    return ["run", "training", "--config_file", f"['{tmp_path}/a.json','{tmp_path}/b.json']"]


@pytest.mark.parametrize(
    "more",
    [
        ["--epochs", "2", "--output=x", "--network_def#norm", "batch"],
        ["--epochs", "-2"],
        ["--init_id", "initialize", "--meta_file", "m.json", "--_meta_#version", "1"],
        ["--+epochs", "2"],
        ["--output", ""],
    ],
)
def test_what_the_configs_have_and_monai_takes_is_accepted(run: list[str], more: list[str]) -> None:
    check_arguments([*run, *more])


def test_a_list_of_files_may_be_typed_without_quotes(tmp_path: Path, run: list[str]) -> None:
    check_arguments(
        ["run", "--run_id=training", f"--config_file=[{tmp_path}/a.json,{tmp_path}/b.json]", "--output", "y"]
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--epoch", "2"], r"--epoch: no such id in .*b\.json; did you mean --epochs\?"),
        (["--epochs#0", "2"], "--epochs#0: no such id"),
        (["-epoch=2"], "--epoch: no such id"),
        (["--epochs", "1", "--epochs", "2"], "--epochs: given twice"),
        (["--epochs", "1", "2"], "2: belongs to no argument; write --name value"),
        (["--output", "x", "-"], "-: belongs to no argument"),
    ],
)
def test_an_argument_without_effect_is_refused(run: list[str], more: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_arguments([*run, *more])


def test_a_word_without_dashes_is_refused(run: list[str]) -> None:
    with pytest.raises(ValueError, match="2: belongs to no argument"):
        check_arguments([*run[:2], "epochs", "2", *run[2:]])


def test_other_commands_and_other_formats_are_left_alone(run: list[str]) -> None:
    check_arguments(["verify_net_in_out", "--anything", "1"])
    check_arguments(["run", "training", "--config_file", "train.yaml", "--anything", "1"])
