"""The pack of a training on planned data: its plan goes with it, and consumers build its network without data."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

BUNDLE = "unet_liver_tumor"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def unpacked(
    phantoms_of: Callable[[str], Path], run_bundle: Callable, pack: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The unzipped pack of a short training on four channels and three structures."""
    folder = tmp_path_factory.mktemp("planned")
    settings = {"spacing": [8.0, 8.0, 8.0], "patch": [16, 16, 16], "roi_size": [32, 32, 32], "samples_per_case": 1}
    settings |= {"epochs": 1, "val_interval": 1, "folds": 3, "batch_size": 1, "queue_size": 2, "num_workers": 0}
    places = {"ckpt_dir": folder / "run/models", "output_dir": folder / "run/train", "cache_dir": folder / "cache"}
    bundle = REPOSITORY / "bundles" / BUNDLE
    data = phantoms_of("nnunet")
    done = run_bundle(bundle, "training", "train.json", device="cpu", dataset_dir=data, **places, **settings)
    assert done.returncode == 0, done.stderr
    done = pack(REPOSITORY, BUNDLE, "--folder", folder, "--run", folder / "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / "unpacked")
    return folder / "unpacked" / BUNDLE


def test_metadata_names_the_channels_and_structures_of_the_plan(unpacked: Path) -> None:
    plan = json.loads((unpacked / "models/plan.json").read_text())
    formats = json.loads((unpacked / "configs/metadata.json").read_text())["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    assert image["num_channels"] == len(plan["channels"]) == 4 and image["modality"] == "MR"
    assert pred["num_channels"] == len(plan["label_values"])


def test_no_case_is_named_in_a_pack_and_an_evaluation_knows_its_cases_again(
    unpacked: Path, phantoms_of: Callable[[str], Path], run_bundle: Callable, tmp_path: Path
) -> None:
    data = phantoms_of("nnunet")
    names = {path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").iterdir()}
    packed = {path.name: path.read_text() for path in (unpacked / "models").glob("*.json")}
    assert {"plan.json", "split.json"} <= packed.keys() and len(names) >= 4
    assert not [name for name in names for text in packed.values() if name in text]
    places = {"dataset_dir": data, "ckpt_dir": unpacked / "models", "output_dir": tmp_path}
    options = {"device": "cpu", "num_workers": 0, "pictures": 0, "animations": 0}
    for subset, marks in (("validate", {"False"}), ("train", {"True"})):
        done = run_bundle(
            unpacked, "run", "train.json", "evaluate.json", **places, **options, subset=subset, roi_size=[32, 32, 32]
        )
        assert done.returncode == 0, done.stderr
        with (tmp_path / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["trained_on"] for row in rows} == marks and {row["case"] for row in rows} <= names


@pytest.mark.slow
def test_monais_consumers_build_the_network_from_any_folder_without_data(
    unpacked: Path, environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    configs = unpacked / "configs"
    files = ["--meta_file", str(configs / "metadata.json"), "--config_file", str(configs / "inference.json")]
    for command in (
        ["verify_net_in_out", "--net_id", "network_def", *files, "--device", "cpu"],
        ["ckpt_export", "--net_id", "network_def", *files, "--filepath", "m.ts",
         "--ckpt_file", str(unpacked / "models/model.pt"), "--input_shape", "[1, 4, 32, 32, 32]"],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", *command],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(unpacked)),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    load = f"import monai.bundle; monai.bundle.load({BUNDLE!r}, bundle_dir={str(unpacked.parent)!r})"
    done = subprocess.run(
        [sys.executable, "-c", load],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(unpacked)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
