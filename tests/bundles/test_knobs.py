"""Whatever a person sets at the top of a config is checked, and a wrong value is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from common.command_line import describe_error
from common.knobs import RULES

WRONG = "nonsense"  # no rule takes it
NOT_CHECKED = {  # by a rule of its own, because what it may be depends on the data, or it is a path
    "bundle_root", "dataset_dir", "layout", "ckpt_dir", "output_dir", "cache_dir", "subset", "listed",
    "init", "_desc_",
}  # fmt: skip


def parsed(bundle: Path, names: tuple[str, ...], **settings: Any) -> ConfigParser:
    config = ConfigParser()
    config.read_config([bundle / "configs" / name for name in names])
    config.read_meta(bundle / "configs/metadata.json")
    recorded = {key: 1 for key in RULES} | {"label_values": [0, 1]}
    config.update({"recorded": recorded, "cases": [], "split": {}, **settings})
    return config


def runs(bundle: Path) -> list[tuple[str, ...]]:
    stages = [(path.name,) for path in sorted(bundle.glob("configs/train*.json"))]
    return [*stages, ("train.json", "evaluate.json"), ("inference.json",)]


def test_every_plain_value_at_the_top_of_a_config_is_a_checked_knob(bundle: Path) -> None:
    for names in runs(bundle):
        config = parsed(bundle, names).config
        plain = {
            key
            for key, value in config.items()
            if not isinstance(value, dict) and (not isinstance(value, str) or not value.startswith(("$", "@")))
        }
        plain -= {"imports", "initialize", "run", "finalize", "cases", "handlers"} | NOT_CHECKED
        assert sorted(plain - config["knobs"].keys()) == [], names


def test_a_wrong_value_of_any_knob_is_named_with_what_was_expected(bundle: Path) -> None:
    for names in runs(bundle):
        knobs = [key for key in parsed(bundle, names).config["knobs"] if key != "_target_"]
        for knob in knobs:
            settings = {key: WRONG for key in [knob]}
            with pytest.raises(Exception) as error:
                parsed(bundle, names, **settings).get_parsed_content("knobs")
            text = describe_error(error.value)
            assert f"{knob} must be {RULES[knob][0]}, got 'nonsense'" in text, (names, knob)


@pytest.mark.parametrize(
    ("knob", "value", "said"),
    [
        ("amp", "yes", "amp must be True, False or auto (capitalized), got 'yes'"),
        ("epochs", "two", "epochs must be a whole number of at least 1, got 'two'"),
        ("batch_size", 0, "batch_size must be a whole number of at least 1, got 0"),
        ("fold", 9, "fold must be a whole number from 0 to 4, or all, got 9"),
        ("resume", "true", "resume must be True or False (capitalized), got 'true'"),
        ("seed", -1, "seed must be a whole number from 0 to 4294967295, got -1"),
        ("device", "cuda:7", "device must be cpu, or a GPU that this machine has (cuda:0), got 'cuda:7'"),
        ("network_def#nothing", 3, "unexpected keyword argument 'nothing'"),
    ],
)
def test_the_command_says_a_wrong_value_in_one_line_and_keeps_the_traceback_in_a_file(
    knob: str, value: object, said: str, phantoms_of, run_bundle, tmp_path: Path
) -> None:
    paths = {"ckpt_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "train"}
    settings = {"dataset_dir": phantoms_of("brats2020"), "device": "cpu", **paths, knob: value}
    done = run_bundle("vox2vox", "training", "train.json", "sample.json", **settings)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "parsing config_file" not in line]
    assert said in line
    assert line.endswith(f"(traceback: {tmp_path}/train/log.txt)")
    assert "Traceback (most recent call last)" in (tmp_path / "train/log.txt").read_text()


def test_a_forgotten_letter_on_monais_command_line_is_one_line_and_nothing_is_trained(
    bundle: Path, run_bundle, tmp_path: Path
) -> None:
    done = run_bundle(bundle, "training", "train.json", output_dir=tmp_path / "out", ckpt_dir=tmp_path / "m", epoch=1)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "parsing config_file" not in line]
    assert (
        line.startswith("--epoch: no such id in configs/train.json; did you mean --epochs?")
        and not (tmp_path / "m").exists()
    )
