"""Which overlay reaches which stage."""

import json
import shlex
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from tools.overlays import for_first_stage, for_inference, for_last_stage, overlay_names
from tools.stages import as_text

BUNDLE = Path(__file__).parents[2] / "bundles/vnet_left_atrium/configs"


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    contents = {
        "train_locator.json": {
            "layout": "a",
            "network_def": {"_target_": "N"},
            "loss": 1,
            "learning_rate": 1,
            "aug": [],
        },
        "inference.json": {"network_def": {"_target_": "N"}, "locator": {"network": 1, "normalize": 2}, "roi_size": 1},
        "data.json": {"layout": "b"},
        "more.json": {"+aug#transforms": [1]},
        "deep.json": {"learning_rate": 2, "network_def": {"_target_": "Deep"}, "+train#handlers": [1]},
        "crop.json": {"buffer": 3},
        "paper.json": {
            "roi_size": 9,
            "network_def": {"_target_": "P"},
            "locator#network": 3,
            "locator#normalize": None,
        },
        "paper_locator.json": {"learning_rate": 3},
        "1_locator_dice.json": {"learning_rate": 4},
        "experiments/2.json": {"learning_rate": 5},
    }
    (tmp_path / "experiments").mkdir()
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    "given", ["data.json experiments/2.json", "data.json, experiments/2.json", ["data.json", "experiments/2.json"]]
)
def test_names_are_separated_by_spaces_or_commas(configs: Path, given: object) -> None:
    assert overlay_names(given, configs) == ["data.json", "experiments/2.json"]


@pytest.mark.parametrize("given", [None, "", " "])
def test_without_overlays_there_are_none(configs: Path, given: object) -> None:
    assert overlay_names(given, configs) == []


def test_a_name_without_a_file_is_answered_with_those_there_are(configs: Path) -> None:
    with pytest.raises(ValueError, match=r"OVERLAYS=papr\.json: no such file in .*paper\.json"):
        overlay_names("papr.json", configs)


def test_what_a_config_says_about_itself_decides_nothing_and_is_taken_nowhere(configs: Path) -> None:
    """An overlay may have a text where a base has none, and one that has no other id in common stays left out."""
    (configs / "data.json").write_text('{"_desc_": "Reads b", "layout": "b"}')
    (configs / "inference.json").write_text('{"_desc_": "Predicts", "roi_size": 1}')
    assert for_first_stage(configs, ["data.json"], "locator") == ["data.json"]
    assert for_inference(configs, ["data.json"]) == {}


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("paper.json", ["paper_locator.json"]),
        ("data.json", ["data.json"]),
        ("more.json", ["more.json"]),
        ("1_locator_dice.json", ["1_locator_dice.json"]),
        ("crop.json", []),
        ("deep.json", []),
        ("experiments/2.json", []),
    ],
)
def test_an_earlier_stage_merges_what_is_its_own_or_fits_without_changing_what_it_trains(
    configs: Path, name: str, merged: list[str]
) -> None:
    assert for_first_stage(configs, [name], "locator") == merged


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crop.json", "train_locator.json has no buffer"),
        ("experiments/2.json", "it sets learning_rate, and there is no experiments/2_locator.json"),
    ],
)
def test_an_overlay_left_out_is_printed_with_the_reason(
    configs: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    for_first_stage(configs, [name], "locator")
    assert capsys.readouterr().out == f"train_locator: {name} is left out, {reason}\n"


def test_the_last_stage_merges_all_but_what_is_named_after_an_earlier_one() -> None:
    names = ["paper.json", "1_locator_dice.json", "experiments/2.json"]
    assert for_last_stage(names, ["locator"]) == ["paper.json", "experiments/2.json"]


def test_inference_takes_what_it_has_from_an_overlay_and_nothing_else(configs: Path) -> None:
    assert for_inference(configs, ["paper.json"]) == {
        "roi_size": 9,
        "network_def": {"_target_": "P"},
        "locator#network": 3,
        "locator#normalize": "$None",
    }


def test_inference_takes_the_last_of_two_networks(configs: Path) -> None:
    taken = for_inference(configs, ["paper.json", "deep.json"])
    assert taken["network_def"] == {"_target_": "Deep"}


def test_inference_says_that_it_leaves_out_an_overlay_that_it_knows_nothing_of(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert for_inference(configs, ["data.json"]) == {}
    assert capsys.readouterr().out == "predictions: data.json is left out, inference.json has none of its ids\n"


@pytest.mark.parametrize("name", sorted(p.relative_to(BUNDLE).as_posix() for p in BUNDLE.glob("experiments/*.json")))
def test_inference_builds_the_networks_that_the_experiment_trains(name: str) -> None:
    names = for_last_stage(["paper.json", name], ["locator"])
    trained, predicts = ConfigParser(), ConfigParser()
    trained.read_config([BUNDLE / "train.json", *(BUNDLE / other for other in names)])
    predicts.read_config(BUNDLE / "inference.json")
    for key, value in for_inference(BUNDLE, names).items():
        predicts[key] = DefaultParseValue(shlex.split(shlex.quote(as_text(value)))[0])
    for key in ("network_def", "locator::network", "locator::normalize"):
        assert without_none(predicts[key]) == without_none(trained[key])


def without_none(item: object) -> object:
    """A config's item with None where it says so in an expression."""
    if isinstance(item, dict):
        return {key: without_none(value) for key, value in item.items()}
    return None if item == "$None" else item
