"""What every bundle's configs promise, checked for each bundle that exists.

That their parts can be made, and have all that consumers ask for, is what test_monai_checks.py tests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from pydoc import locate
from typing import Any
from unittest.mock import MagicMock

import pytest
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator, ConfigComponent
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.arguments import knows
from common.handlers.restoring import registered
from tools.verify_configs import Combination, combinations

KNOBS = ["bundle_root", "dataset_dir", "ckpt_dir", "output_dir", "cache_dir", "device", "amp", "seed", "fold", "folds"]
KNOBS += ["epochs", "val_interval", "batch_size", "learning_rate", "num_workers", "resume"]
LOCATOR = ComponentLocator()
RUN_IDS = {"_desc_", "imports", "initialize", "run", "training", "finalize"}


def read(bundle: Path, name: str) -> dict[str, Any]:
    return json.loads((bundle / "configs" / name).read_text())


def merged(bundle: Path, *names: str) -> dict[str, Any]:
    """Config files as MONAI merges them."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / name) for name in names])
    return parser.config


def trainings(bundle: Path) -> list[str]:
    """``train.json``, and ``train_<stage>.json`` of earlier stages."""
    return sorted(path.name for path in bundle.glob("configs/train*.json"))


def trained_combinations(bundle: Path) -> list[Combination]:
    """Every training that the configs describe: each alone, and with each overlay that goes onto it."""
    return [
        each for each in combinations(bundle / "configs") if each.kind == "train" and "evaluate.json" not in each.files
    ]


def made_by(item: Any) -> Any:
    """The class, or function, that a config item calls; None for another item."""
    if not ConfigComponent.is_instantiable(item):
        return None
    return locate(ConfigComponent(item, locator=LOCATOR).resolve_module_name())


def keeps_state(item: Any) -> bool:
    made = made_by(item)
    return hasattr(made, "state_dict") and hasattr(made, "load_state_dict")


def test_configs_are_json_of_at_most_200_lines(bundle: Path) -> None:
    for file in sorted(bundle.glob("configs/**/*.json")):
        json.loads(file.read_text())
        assert len(file.read_text().splitlines()) <= 200, file.name


def test_every_config_says_in_one_line_what_it_is_for(bundle: Path) -> None:
    names = {str(path.relative_to(bundle / "configs")) for path in bundle.glob("configs/**/*.json")}
    names -= {"metadata.json", "plan.json"}
    said = {name: read(bundle, name).get("_desc_", "") for name in names}
    assert [name for name in sorted(names) if not 0 < len(said[name]) <= 120] == []


def test_every_training_has_the_knobs_that_all_bundles_share(bundle: Path) -> None:
    for name in trainings(bundle):
        assert [knob for knob in KNOBS if knob not in read(bundle, name)] == [], name


def test_run_is_what_every_config_runs_and_training_what_a_training_runs_too(bundle: Path) -> None:
    for name in (*trainings(bundle), "inference.json"):
        assert "run" in read(bundle, name), name
    assert [name for name in trainings(bundle) if "training" not in read(bundle, name)] == []
    assert "run" in read(bundle, "evaluate.json")


def test_no_id_of_a_config_is_unused(bundle: Path) -> None:
    evaluate = (bundle / "configs/evaluate.json").read_text()
    for name in (*trainings(bundle), "inference.json"):
        text = (bundle / "configs" / name).read_text() + (evaluate if name == "train.json" else "")
        ids = set(read(bundle, name)) - RUN_IDS - {"train", "validate"}
        assert [key for key in sorted(ids) if f"@{key}" not in text] == [], name


def test_network_agrees_between_training_and_inference(bundle: Path) -> None:
    train, inference = read(bundle, "train.json"), read(bundle, "inference.json")
    assert {key: train[key] for key in ("network_def", "network")} == {
        key: inference[key] for key in ("network_def", "network")
    }


def test_evaluation_predicts_as_inference_does(bundle: Path) -> None:
    validate, inference = read(bundle, "evaluate.json")["validate"], read(bundle, "inference.json")
    text = json.dumps(validate).replace("@validate#", "@")
    validate = json.loads(text)
    assert validate["preprocessing"] == inference["preprocessing"]
    assert validate["inferer"] == inference["inferer"]
    steps = validate["postprocessing"]["transforms"]  # inference then writes files
    assert inference["postprocessing"]["transforms"][: len(steps)] == steps


def test_every_overlay_changes_only_what_its_base_has(bundle: Path) -> None:
    for combination in combinations(bundle / "configs"):
        *base, overlay = combination.files
        if not base or overlay == "evaluate.json":
            continue
        have = merged(bundle, *base)
        unknown = [key for key in read(bundle, overlay) if not knows(have, key.lstrip("+"))]
        assert unknown == [], f"{overlay} onto {' + '.join(base)}"


def test_all_of_a_training_that_has_a_state_is_in_its_checkpoint(bundle: Path) -> None:
    """Handlers register theirs with the trainer, the rest is named."""
    for combination in trained_combinations(bundle):
        config = merged(bundle, *combination.files)
        saved = {reference.removeprefix("@") for reference in config["checkpointed"].values()}
        steered = {key: item for key, item in config.items() if isinstance(made_by(item), type)}
        stateful = {key for key, item in steered.items() if issubclass(made_by(item), (Optimizer, LRScheduler))}
        assert stateful <= saved, combination.files
        assert [key for key in sorted(saved) if not keeps_state(config[key])] == [], combination.files
        trainer = Engine(lambda engine, batch: None)
        handlers = [item for item in config["train"]["handlers"] if keeps_state(item)]
        for item in handlers:
            made_by(item).attach(MagicMock(), trainer)
        assert len(registered(trainer)) == len(handlers) >= 1, combination.files


def test_schedules_move_after_the_validation_that_steers_them(bundle: Path) -> None:
    for combination in trained_combinations(bundle):
        names = [item["_target_"].split(".")[-1] for item in merged(bundle, *combination.files)["train"]["handlers"]]
        schedules = [n for n, name in enumerate(names) if "Schedule" in name]
        assert schedules
        assert names.index("ValidationHandler") < min(schedules), combination.files


def test_validation_on_the_networks_grid_says_so_and_whoever_steers_by_it_has_its_name(bundle: Path) -> None:
    """A name that the evaluator does not know would read as no Dice at all."""
    for combination in trained_combinations(bundle):
        config = merged(bundle, *combination.files)
        (name,) = config["validate"]["key_metric"]
        assert name.startswith("val_") and name.endswith("_network_grid"), (
            combination.files
        )  # val_mean_dice: of original grids
        steered = json.dumps(config["train"]) + json.dumps(config.get("lr_criterion"))
        assert set(re.findall(r"\bval_\w+", steered)) <= {name, "val_interval"}, combination.files


@pytest.mark.parametrize("name", ["train.json", "inference.json"])
def test_bundle_has_its_metadatas_version_and_the_quicker_kernels_by_one_knob(bundle: Path, name: str) -> None:
    config = read(bundle, name)
    assert config["version"] == {"_target_": "common.engines.check_version", "version": "@_meta_#version"}
    network = {"_target_": "common.kernels.on_device", "network": "@network_def", "device": "@device"}
    assert network | {"kernels": "@kernels"} == {key: config["network"].get(key) for key in [*network, "kernels"]}


def test_every_config_that_runs_checks_command_version_and_knobs_first(bundle: Path) -> None:
    runs = {
        path.name: config["run"]
        for path in sorted((bundle / "configs").glob("*.json"))
        if "run" in (config := read(bundle, path.name))
    }
    assert {"train.json", "evaluate.json", "inference.json"} <= runs.keys()
    for name, steps in runs.items():  # knobs may come from the plan, which a training makes first
        planned = ["@planned"] if name.startswith("train") else []
        assert steps[: 3 + len(planned)] == ["@command", "@version", *planned, "@knobs"], name


def test_every_start_puts_the_bundle_on_the_path_then_sees_to_the_command_line(bundle: Path) -> None:
    starts = {
        path.name: config["initialize"]
        for path in sorted((bundle / "configs").glob("*.json"))
        if "initialize" in (config := read(bundle, path.name))
    }
    assert {"train.json", "inference.json", "multi_gpu_train.json", "multi_gpu_inference.json"} <= starts.keys()
    for name, steps in starts.items():
        after = 2 if name.startswith("multi_gpu") else 1  # torch's group of processes has its own way with errors
        assert "sys.path.insert" in steps[0] and steps[after] == "@command", name


def test_evaluation_takes_the_fold_that_was_trained(bundle: Path) -> None:
    parser = ConfigParser(merged(bundle, "train.json", "evaluate.json") | {"recorded": {"fold": 3}})
    assert parser.get_parsed_content("fold") == 3
