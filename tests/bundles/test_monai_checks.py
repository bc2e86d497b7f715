"""Other software takes a bundle as it is: MONAI's own checks, the versions it asks for, mlflow, TensorBoard."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tools.verify import Result, verify

REPOSITORY = Path(__file__).parents[2]
OWN_KEYS = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def checked(bundle: Path) -> tuple[list[Result], bool]:
    """The results of all checks, and whether the bundle's folder is as it was."""
    before = state(bundle)
    return list(verify(bundle)), state(bundle) == before


@pytest.fixture(scope="module")
def tracked(bundle: Path, sample_data: Path, run_bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder of two epochs with `--tracking mlflow`, and what they printed."""
    folder = tmp_path_factory.mktemp("tracked")
    paths = {"ckpt_dir": folder / "models", "cache_dir": folder / "cache", "output_dir": folder / "train"}
    settings = {"epochs": 2, "val_interval": 1, "num_workers": 0, "device": "cpu"}
    if "crop" in json.loads((bundle / "configs/train.json").read_text()):
        settings["crop"] = "label"  # no earlier stage is trained here
    settings |= {"tracking": "mlflow", "run_name": "first_try"}
    done = run_bundle(bundle, "training", "train.json", "sample.json", dataset_dir=sample_data, **paths, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return paths["output_dir"], done.stdout


def printed(text: str) -> dict[str, list[float]]:
    """The loss and the validation metric of every epoch, from the lines that a person reads."""
    rows = re.findall(r"epoch \d+/\d+: loss (\S+), (\w+) (\S+),", text)
    return {"loss": [float(row[0]) for row in rows], rows[0][1]: [float(row[2]) for row in rows]}


@pytest.mark.slow_but_for("unet_liver_tumor")
def test_every_check_of_monai_passes(checked: tuple[list[Result], bool]) -> None:
    assert [str(result) for result in checked[0] if result.fault] == []


@pytest.mark.slow_but_for("unet_liver_tumor")
def test_the_checks_leave_the_bundles_folder_as_it_was(checked: tuple[list[Result], bool]) -> None:
    assert checked[1]


@pytest.mark.slow_but_for("unet_liver_tumor")
def test_every_config_and_every_described_network_is_checked(bundle: Path, checked: tuple[list[Result], bool]) -> None:
    names = [result.name for result in checked[0]]
    files = {str(path.relative_to(bundle / "configs")) for path in bundle.glob("configs/**/*.json")}
    seen = {file for name in names if name.startswith("properties of ") for file in name[14:].split(" + ")}
    assert files - seen == {"metadata.json", "plan.json"}
    networks = [key for key in json.loads((bundle / "configs/metadata.json").read_text()) if "_data_format" in key]
    for what in ("network in and out", "TorchScript export", "ONNX export"):
        assert len([name for name in names if name.startswith(what)]) == len(networks)


def test_required_packages_are_the_declared_dependencies_at_the_pinned_versions(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    assert metadata["required_packages_version"] == {name: pinned[name] for name in declared if name not in OWN_KEYS}
    assert {key: metadata[key] for key in OWN_KEYS.values()} == {key: pinned[name] for name, key in OWN_KEYS.items()}


@pytest.mark.slow_but_for("vox2vox")
def test_mlflow_has_the_run_with_its_parameters_loss_and_validation_metric(tracked: tuple[Path, str]) -> None:
    import mlflow

    folder, text = tracked
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlruns.db")
    (run,) = client.search_runs(client.get_experiment_by_name("monai_experiment").experiment_id)
    assert (run.info.run_name, run.info.status) == ("first_try", "FINISHED")
    assert run.data.params["max_epochs"] == "2"
    for name, values in printed(text).items():
        history = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in history] == [1, 2]
        assert [point.value for point in history] == pytest.approx(values, abs=5e-5)
    steps = client.get_metric_history(run.info.run_id, "train_loss")
    assert len(steps) == 2 * int(run.data.params["epoch_length"])


@pytest.mark.slow_but_for("vox2vox")
def test_tensorboard_has_the_loss_and_the_validation_metric_of_every_epoch(tracked: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, text = tracked
    events = EventAccumulator(str(folder))
    events.Reload()
    for name, values in printed(text).items():
        assert [point.step for point in events.Scalars(name)] == [1, 2]
        assert [point.value for point in events.Scalars(name)] == pytest.approx(values, abs=5e-5)
    assert "train_loss" in events.Tags()["scalars"]  # of every iteration, in a tag of its own
