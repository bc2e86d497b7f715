"""A packed bundle, downloaded by someone who has its pinned dependencies and nothing else of this repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.command_line import describe_error
from common.datasets import inference_datalist

DEMONSTRATION = "trained on generated phantoms: demonstration only, not for patients"

Run = Callable[..., subprocess.CompletedProcess]


def dependencies(names: list[str]) -> dict[str, Distribution]:
    """These distributions and, recursively, those they need here."""
    found: dict[str, Distribution] = {}
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = distribution(name)
            needed = [Requirement(line) for line in found[name].requires or []]
            waiting += [canonicalize_name(r.name) for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="session")
def bare_python(
    packed: Path, environment: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """``bare_python("-m", ..., cwd=folder)`` of a Python that has what the zip's requirements.txt brings, and no more.

    Its packages are links to those installed here, so that nothing need be downloaded.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.EnvBuilder(symlinks=True).create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(packed) as archive:
        text = archive.read(next(name for name in archive.namelist() if name.endswith("/requirements.txt"))).decode()
    for found in dependencies([line.split("==")[0] for line in text.splitlines()]).values():
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(found.locate_file(top))

    def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
        command = [str(folder / "bin/python"), *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture(scope="session")
def downloaded(
    bundle: Path, packed: Path, serve: Callable[[Path], str], bare_python: Run, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle's folder after ``python -m monai.bundle download`` into an empty one."""
    folder = tmp_path_factory.mktemp("downloaded")
    address = f"{serve(packed.parent)}/{packed.name}"
    options = ["--name", bundle.name, "--url", address, "--bundle_dir", folder, "--progress", "False"]
    done = bare_python("-m", "monai.bundle", "download", *options, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / bundle.name


@pytest.fixture(scope="session")
def trained_there(
    downloaded: Path, sample_data: Path, bare_python: Run, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A downloaded bundle that has trained one epoch, evaluated and predicted: earlier stages in its own folder, the
    last one from elsewhere."""
    home = tmp_path_factory.mktemp("trained") / downloaded.name
    shutil.copytree(downloaded, home, ignore=shutil.ignore_patterns("*.pt"))
    (home / "models/plan.json").unlink(missing_ok=True)
    data = ["--dataset_dir", sample_data, "--num_workers", 0, "--device", "cpu"]
    short = [*data, "--epochs", 1, "--val_interval", 1]
    first = sorted(path.stem.removeprefix("train_") for path in home.glob("configs/train_*.json"))

    def run(run_id: str, *files: str, options: list, folder: str = "configs", cwd: Path = home) -> None:
        merged = str([f"{folder}/{name}" for name in files])
        done = bare_python("-m", "monai.bundle", "run", run_id, "--config_file", merged, *options, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr

    for stage in first:
        run("training", f"train_{stage}.json", f"sample_{stage}.json", options=short)
    elsewhere = {"folder": f"{home}/configs", "cwd": tmp_path_factory.mktemp("elsewhere")}
    run("training", "train.json", "sample.json", options=[*short, "--bundle_root", home], **elsewhere)
    run("run", "train.json", "sample.json", "evaluate.json", options=[*data, "--subset", "all"])
    networks = {"network_def", *first}
    sample = json.loads((home / "configs/sample.json").read_text())
    own = {key: value for key, value in sample.items() if key.split("#")[0] in networks}
    taken = {f"--{key}": "$None" if value is None else value for key, value in own.items()}
    run("run", "inference.json", options=[*data, *(text for pair in taken.items() for text in pair)])
    return home


@pytest.fixture(scope="session")
def packed_run(
    checkout: Path, pack, trained_there: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[zipfile.ZipFile, Path]:
    """The zip of ``make pack RUN=... OVERLAYS=sample.json``, and the folder of the bundle unzipped."""
    folder = tmp_path_factory.mktemp("packed_run")
    options = ["--run", trained_there, "--merge", "sample.json", "--folder", folder]
    done = pack(checkout, trained_there.name, *options, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert DEMONSTRATION in done.stdout
    archive = zipfile.ZipFile(next(folder.glob(f"{trained_there.name}_v*_{trained_there.name}.zip")))
    archive.extractall(folder)
    return archive, folder / trained_there.name


@pytest.mark.slow_but_for("vox2vox")
@pytest.mark.parametrize("module", ["common", "tools", "pytest", "ruff", "jsonschema", "surface_distance"])
def test_the_bare_python_has_neither_the_repository_nor_its_tools(
    module: str, bare_python: Run, tmp_path: Path
) -> None:
    assert f"No module named '{module}'" in bare_python("-c", f"import {module}", cwd=tmp_path).stderr


@pytest.mark.slow_but_for("vox2vox")
def test_a_downloaded_bundle_trains_evaluates_and_predicts(trained_there: Path, sample_data: Path) -> None:
    plan = json.loads((trained_there / "models/plan.json").read_text())
    assert plan["demonstration_only"] is True
    metrics = json.loads((trained_there / "output/evaluation/metrics.json").read_text())
    assert len({row["case"] for row in metrics["cases"]}) == 6
    written = {path.name.split("_seg.")[0] for path in (trained_there / "output/predictions").glob("*_seg.*")}
    assert written == {item["case"] for item in inference_datalist(sample_data)}


def load_as_documented(home: Path, bare_python: Run) -> list[str]:
    """Run the lines that the bundle's README gives, where it says; what ``common`` and whose weights that brought."""
    (lines,) = re.findall(r"```python\n(.*?monai\.bundle\.load.*?)```", (home / "docs/README.md").read_text(), re.S)
    lines += f"""
import common, torch
saved = torch.load("{home.name}/models/model.pt", weights_only=True)
state = network.state_dict()
print(common.__file__)
print(saved.keys() == state.keys() and all(torch.equal(state[k], v.to(state[k])) for k, v in saved.items()))
"""
    done = bare_python("-c", lines, cwd=home.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-2:]


@pytest.mark.slow_but_for("vnet_left_atrium")
def test_the_documented_lines_load_the_shipped_weights(downloaded: Path, bare_python: Run) -> None:
    if not (downloaded / "models/model.pt").is_file():
        pytest.skip("this bundle ships no weights")
    assert load_as_documented(downloaded, bare_python) == [str(downloaded / "common/__init__.py"), "True"]


@pytest.mark.slow_but_for("vox2vox")
def test_the_documented_lines_load_the_weights_of_a_packed_run(
    packed_run: tuple[zipfile.ZipFile, Path], bare_python: Run
) -> None:
    _, home = packed_run
    assert load_as_documented(home, bare_python) == [str(home / "common/__init__.py"), "True"]


@pytest.mark.slow_but_for("vox2vox")
def test_a_packed_run_brings_its_own_weights_and_no_checkpoints(
    packed_run: tuple[zipfile.ZipFile, Path], trained_there: Path
) -> None:
    archive, home = packed_run
    models = {path.name for path in (trained_there / "models").iterdir()}
    assert {"model.pt", "model_epoch=1.pt"} <= models
    packed = {Path(name).name for name in archive.namelist() if "/models/" in name}
    assert packed == {name for name in models if "_epoch=" not in name}
    assert (home / "models/model.pt").read_bytes() == (trained_there / "models/model.pt").read_bytes()


@pytest.mark.slow_but_for("vox2vox")
def test_a_packed_run_on_phantoms_says_demonstration_only(packed_run: tuple[zipfile.ZipFile, Path]) -> None:
    _, home = packed_run
    assert DEMONSTRATION in json.loads((home / "configs/metadata.json").read_text())["intended_use"]
    assert DEMONSTRATION in "".join((home / "docs/README.md").read_text().splitlines()[:4])
    assert DEMONSTRATION in (home / "docs/data_license.txt").read_text().splitlines()[0]


@pytest.mark.slow_but_for("vox2vox")
def test_a_run_of_another_network_is_not_packed_without_its_overlays(
    checkout: Path, pack, trained_there: Path, tmp_path: Path
) -> None:
    sample = json.loads((trained_there / "configs/sample.json").read_text())
    if "network_def" not in sample:
        pytest.skip("sample.json keeps the network")
    done = pack(checkout, trained_there.name, "--run", trained_there, cwd=tmp_path)
    assert done.returncode == 1
    assert "Give pack the OVERLAYS= of the training" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.slow_but_for("vox2vox")
def test_a_bundle_that_meets_another_versions_common_says_so(
    downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a second bundle runs in one process: `common` is imported already, here that of this repository."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    metadata = json.loads((downloaded / "configs/metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps({**metadata, "version": "9.9.9"}))
    flow = ConfigWorkflow(
        config_file=str(downloaded / "configs/inference.json"),
        meta_file=str(tmp_path / "metadata.json"),
        logging_file=None,
        workflow_type="infer",
        bundle_root=str(downloaded),
    )
    flow.initialize()
    with pytest.raises(RuntimeError) as error:
        flow.run()
    assert "this bundle is version 9.9.9, but Python found `common`" in describe_error(error.value)
