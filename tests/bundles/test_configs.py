"""What every bundle's configs promise, checked for each bundle that exists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

KNOBS = ["bundle_root", "dataset_dir", "ckpt_dir", "output_dir", "cache_dir", "device", "amp", "seed", "fold", "folds"]
KNOBS += ["epochs", "val_interval", "batch_size", "learning_rate", "num_workers", "resume"]


def files(bundle: Path) -> list[Path]:
    return sorted(bundle.glob("configs/**/*.json"))


def workflow(bundle: Path, kind: str, *names: str, **overrides: object) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in names],
        meta_file=str(bundle / "configs/metadata.json"),
        logging_file=None,
        workflow_type=kind,
        **overrides,
    )


def test_configs_are_json_of_at_most_200_lines(bundle: Path) -> None:
    for file in files(bundle):
        json.loads(file.read_text())
        assert len(file.read_text().splitlines()) <= 200, file.name


def test_train_json_has_the_knobs_that_all_bundles_share(bundle: Path) -> None:
    top = json.loads((bundle / "configs/train.json").read_text())
    assert [knob for knob in KNOBS if knob not in top] == []


def test_no_id_of_train_json_is_unused(bundle: Path) -> None:
    text = (bundle / "configs/train.json").read_text() + (bundle / "configs/evaluate.json").read_text()
    top = json.loads((bundle / "configs/train.json").read_text())
    run_ids = {"imports", "initialize", "run", "training", "finalize", "train", "validate"}
    assert [key for key in top if key not in run_ids and f"@{key}" not in text] == []


def test_network_and_locator_agree_between_training_and_inference(bundle: Path) -> None:
    train = json.loads((bundle / "configs/train.json").read_text())
    inference = json.loads((bundle / "configs/inference.json").read_text())
    assert train["network_def"] == inference["network_def"]
    assert train["network"] == inference["network"]
    if "locator" in train:
        assert train["locator"]["network"] == inference["locator"]["network"]
        assert train["locator"]["normalise"] == inference["locator"]["normalise"]


def test_evaluation_predicts_as_inference_does(bundle: Path) -> None:
    validate = json.loads((bundle / "configs/evaluate.json").read_text())["validate"]
    inference = json.loads((bundle / "configs/inference.json").read_text())
    assert validate["preprocessing"] == inference["preprocessing"]
    assert validate["inferer"] == inference["inferer"]
    shown = json.dumps(validate["postprocessing"]).replace("validate#", "")
    assert shown[:-2] == json.dumps(inference["postprocessing"])[: len(shown) - 2]


@pytest.mark.parametrize(
    "overlays", [(), ("paper.json",), ("hybrid.json",), ("hybrid_from_dice.json",), ("evaluate.json",)]
)
def test_training_config_has_every_property_that_consumers_ask_for(
    bundle: Path, overlays: tuple[str, ...], sample_data: Path, tmp_path: Path
) -> None:
    flow = workflow(
        bundle,
        "train",
        "train.json",
        *overlays,
        bundle_root=str(bundle),
        dataset_dir=str(sample_data),
        ckpt_dir=str(bundle / "models") if "evaluate.json" in overlays else str(tmp_path),
        cache_dir=str(tmp_path / "cache"),
        output_dir=str(tmp_path / "output"),
        crop="label",
    )
    flow.initialize()
    assert flow.check_properties() == []


def test_inference_config_has_every_property_that_consumers_ask_for(
    bundle: Path, sample_data: Path, tmp_path: Path
) -> None:
    flow = workflow(
        bundle,
        "infer",
        "inference.json",
        bundle_root=str(bundle),
        dataset_dir=str(sample_data),
        output_dir=str(tmp_path),
        ckpt_dir=str(bundle / "models"),
    )
    flow.initialize()
    assert flow.check_properties() == []


def test_every_overlay_changes_only_ids_that_some_config_has(bundle: Path) -> None:
    known = set()
    for base in ("train.json", "train_locator.json", "inference.json", "evaluate.json"):
        if (bundle / "configs" / base).is_file():
            known |= set(json.loads((bundle / "configs" / base).read_text()))
    overlays = [f for f in files(bundle) if f.name not in ("metadata.json", "evaluate.json")]
    for file in overlays:
        unknown = [k for k in json.loads(file.read_text()) if k.lstrip("+").split("#")[0] not in known]
        assert unknown == [], file.name


def test_every_experiment_builds_its_network_loss_and_optimiser(bundle: Path) -> None:
    for file in sorted(bundle.glob("configs/experiments/*.json")):
        first = "train_locator.json" if "locator" in file.name else "train.json"
        second = "paper_locator.json" if "locator" in file.name else "paper.json"
        parser = ConfigParser()
        parser.read_config([str(bundle / "configs" / name) for name in (first, second, f"experiments/{file.name}")])
        parser["device"] = "cpu"
        for part in ("network_def", "loss", "optimizer", "lr_scheduler"):
            assert parser.get_parsed_content(part) is not None, f"{file.name}: {part}"
