"""What the tests of the bundles share: every bundle that exists, phantoms in its layout, and its commands."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from common.phantoms import WRITERS
from tests import forks

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1] for path in REPOSITORY.glob("bundles/*/configs/train.json"))


@pytest.fixture(scope="session", params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Path:
    """The folder of a bundle: a test that asks for it runs for every bundle that exists."""
    return request.param


@pytest.fixture(scope="session")
def phantoms_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``phantoms_of(layout)``: a folder of six phantoms in that layout, written once."""
    folders: dict[str, Path] = {}

    def write(layout: str) -> Path:
        if layout not in folders:
            folders[layout] = tmp_path_factory.mktemp(layout)
            WRITERS[layout](str(folders[layout]), 6, 1)
        return folders[layout]

    return write


@pytest.fixture(scope="session")
def sample_data(bundle: Path, phantoms_of: Callable[[str], Path]) -> Path:
    """Six phantoms in the layout that the bundle's train.json names."""
    return phantoms_of(json.loads((bundle / "configs/plan.json").read_text())["layout"])


@pytest.fixture(scope="session")
def phantoms(phantoms_of: Callable[[str], Path]) -> Path:
    """Six phantoms in the layout of the 2018 Atrial Segmentation Challenge."""
    return phantoms_of("atria2018")


@pytest.fixture(scope="session")
def run_bundle() -> Callable[..., subprocess.CompletedProcess]:
    """``run_bundle(bundle, run_id, "train.json", "sample.json", epochs=1)``: a ``monai.bundle run`` in its folder.

    ``launcher`` is what Python runs, with arguments, instead of ``-m monai.bundle``.
    """

    def run(
        bundle: str | Path,
        run_id: str,
        *configs: str,
        launcher: Sequence[object] = ("-m", "monai.bundle"),
        **overrides: object,
    ) -> subprocess.CompletedProcess:
        files = [f"configs/{name}" for name in configs]
        command = [*launcher, "run", run_id, "--config_file", files]
        for name, value in overrides.items():
            command += [f"--{name}", value]
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])  # for workers that are spawned
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return forks.run(command, cwd=REPOSITORY / "bundles" / bundle, environment=environment)

    return run


@pytest.fixture(scope="session")
def trained(bundle: Path, sample_data: Path, run_bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one short training of all the bundle's stages on phantoms: ``models/``, ``train/``, ``cache/``."""
    folder = tmp_path_factory.mktemp(f"trained_{bundle.name}")
    if "PYTEST_XDIST_TESTRUNUID" in os.environ:
        once = folder.parents[1] / f"{bundle.name} was trained"  # in the folder of all the run's processes
        assert not once.exists(), "tests of one bundle run in two processes: pytest-xdist has lost its groups"
        once.touch()
    paths = {"ckpt_dir": folder / "models", "cache_dir": folder / "cache", "output_dir": folder / "train"}
    first = sorted(path.stem.removeprefix("train_") for path in bundle.glob("configs/train_*.json"))
    for train, sample in [
        *((f"train_{stage}.json", f"sample_{stage}.json") for stage in first),
        ("train.json", "sample.json"),
    ]:
        settings = {"epochs": 1, "val_interval": 1, "num_workers": 0, "device": "cpu"}
        done = run_bundle(bundle, "training", train, sample, dataset_dir=sample_data, **paths, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder
