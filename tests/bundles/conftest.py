"""What the tests of the bundles share: the bundles, phantoms in their layout, and a way to run their commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.datasets import write_atria2018

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms in the layout of the 2018 Atrial Segmentation Challenge."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_atria2018(str(folder), cases=6, seed=1)
    return folder


@pytest.fixture(scope="session")
def run_bundle() -> Callable[..., subprocess.CompletedProcess]:
    """``run_bundle(bundle, run_id, "train.json", "sample.json", epochs=1)``: a ``monai.bundle run`` in its folder."""

    def run(bundle: str, run_id: str, *configs: str, **overrides: object) -> subprocess.CompletedProcess:
        files = [f"configs/{name}" for name in configs]
        command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", str(files)]
        for name, value in overrides.items():
            command += [f"--{name}", str(value)]
        folder = REPOSITORY / "bundles" / bundle
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=900
        )

    return run
