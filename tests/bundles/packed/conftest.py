"""What the tests of packed bundles share: a checkout to pack in, the zip, and the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """``environment(NAME="value")``: that of the tests, without what tells Python where to look."""

    def clean(**more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return {**kept, "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1", **more}

    return clean


@pytest.fixture(scope="session")
def pack(environment: Callable[..., dict[str, str]]) -> Callable[..., subprocess.CompletedProcess]:
    """``pack(checkout, bundle, "--run", folder, cwd=...)``: ``make pack`` with the tools of that checkout."""

    def run(root: Path, bundle: str, *arguments: object, cwd: Path, umask: int = 0o022) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "tools.pack", "--bundle", bundle, *map(str, arguments)]
        env = environment(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")
        return subprocess.run(command, cwd=cwd, env=env, umask=umask, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture(scope="session")
def leave_things_behind() -> Callable[[Path], None]:
    """``leave_things_behind(folder)``: what a run, Python and a desktop leave in a bundle's folder."""
    names = [
        "models/model_epoch=3.pt",
        "models/model.pt.7.tmp",
        "cache/a.pt",
        "output/train/b.png",
        "configs/.DS_Store",
    ]

    def write(home: Path) -> None:
        for name in [*names, "docs/__pycache__/c.pyc"]:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("left behind")

    return write


@pytest.fixture(scope="session")
def checkout(
    bundle: Path, leave_things_behind: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A git checkout of this bundle and of all it takes to pack it, in which someone has also run and tried things."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("common", "tools", f"bundles/{bundle.name}"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*_epoch=*.pt"))
    for name in ("pyproject.toml", "constraints.txt", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder)
    for command in (["git", "init", "--quiet"], ["git", "add", "."]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    leave_things_behind(folder / "bundles" / bundle.name)
    (folder / "common/try_this.py").write_text("never added to git")
    return folder


@pytest.fixture(scope="session")
def packed(bundle: Path, checkout: Path, pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that ``make pack`` writes in the checkout."""
    folder = tmp_path_factory.mktemp("packed")
    done = pack(checkout, bundle.name, "--folder", folder, cwd=checkout)
    assert done.returncode == 0, done.stderr
    version = json.loads((bundle / "configs/metadata.json").read_text())["version"]
    return folder / f"{bundle.name}_v{version}.zip"
