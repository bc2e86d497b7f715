"""The zip of a packed bundle: the same for everyone, whole, and without leftovers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path


def test_the_same_files_packed_by_someone_else_give_the_same_bytes(
    bundle: Path, checkout: Path, packed: Path, pack, leave_things_behind: Callable[[Path], None], tmp_path: Path
) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=checkout, check=True, capture_output=True, text=True).stdout
    for name in reversed(listed.splitlines()):
        (tmp_path / "export" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / name, tmp_path / "export" / name)
        (tmp_path / "export" / name).chmod(0o600)
        os.utime(tmp_path / "export" / name, (1e9, 1e9))
    leave_things_behind(tmp_path / "export/bundles" / bundle.name)
    done = pack(tmp_path / "export", bundle.name, cwd=tmp_path, umask=0o077)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dist" / packed.name).read_bytes() == packed.read_bytes()


def test_the_zip_holds_one_folder_with_the_bundle_its_common_and_no_leftovers(bundle: Path, packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {bundle.name}
    tops = {name.split("/")[1] for name in names}
    assert tops - {"models", "large_files.yml"} == {"LICENSE", "common", "configs", "docs", "requirements.txt"}
    inside = {name.removeprefix(f"{bundle.name}/") for name in names}
    assert {"common/__init__.py", "configs/metadata.json", "docs/README.md"} <= inside
    left = r"_epoch=|\.tmp$|/\.|__pycache__|cache/|output/|try_this"
    assert [name for name in names if re.search(left, name)] == []


def test_packing_says_what_it_left_out(bundle: Path, checkout: Path, pack, tmp_path: Path) -> None:
    (line,) = [t for t in pack(checkout, bundle.name, cwd=tmp_path).stdout.splitlines() if t.startswith("Left out")]
    for name in ("cache/", "common/try_this.py", "models/model_epoch=3.pt", "output/"):
        assert name in line


def test_requirements_are_the_versions_that_the_metadata_names(packed: Path, bundle: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        pins = dict(line.split("==") for line in archive.read(f"{bundle.name}/requirements.txt").decode().split())
    meta = json.loads((bundle / "configs/metadata.json").read_text())
    named = {"monai": meta["monai_version"], "torch": meta["pytorch_version"], "numpy": meta["numpy_version"]}
    assert pins == {**named, **meta["required_packages_version"]}
