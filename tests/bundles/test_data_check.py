"""Training starts only on sound data: every fault of a data set is named, for any bundle, before the first epoch."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import LoadImage

from common.command_line import describe_error
from common.datasets.layouts import LAYOUTS
from common.files import files_of
from common.transforms import VolumeReader
from tests.volumes import write


def load(path: str) -> tuple[np.ndarray, np.ndarray]:
    """A volume (C, X, Y, Z) and its affine."""
    reader = LoadImage(image_only=True, ensure_channel_first=True)
    reader.register(VolumeReader())
    volume = reader(path)
    return volume.numpy(), volume.affine.numpy()


def replace(path: str, volume: np.ndarray, affine: np.ndarray) -> None:
    """Another volume (C, X, Y, Z) in a file's place."""
    Path(path).unlink()  # it is a link to the phantoms
    write(Path(path), volume[0] if len(volume) == 1 else np.moveaxis(volume, 0, -1), affine)


def changed(change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Callable[[str], None]:
    """A fault that rewrites a file with another array or affine."""
    return lambda path: replace(path, *change(*load(path)))


def truncate(path: str) -> None:
    half = Path(path).read_bytes()[: Path(path).stat().st_size // 2]
    Path(path).unlink()
    Path(path).write_bytes(half)


def with_value(volume: np.ndarray, value: float) -> np.ndarray:
    volume = volume.astype(np.float32)
    volume[0, 1, 1, 1] = value
    return volume


FAULTS = {  # which file, what is done to it, what the message says about it
    "missing label": ("label", lambda path: Path(path).unlink(), "no such file or folder"),
    "unreadable": ("image", truncate, "cannot be read"),
    "other shape": ("label", changed(lambda volume, affine: (volume[:, 1:], affine)), "shape ("),
    "other affine": ("label", changed(lambda volume, affine: (volume, affine + np.eye(4, k=3))), "affine differs"),
    "label value": (
        "label",
        changed(lambda volume, affine: (with_value(volume, 77).astype(np.uint8), affine)),
        "label value 77 not allowed",
    ),
    "NaN": ("image", changed(lambda volume, affine: (with_value(volume, np.nan), affine)), "1 voxels are not finite"),
    "channels": (
        "image",
        changed(lambda volume, affine: (np.concatenate([volume, volume[:1]]), affine)),
        "channels, expected",
    ),
}


@pytest.fixture
def data(sample_data: Path, tmp_path: Path) -> Path:
    """The phantoms, for a test to damage: links, so that it costs nothing."""
    return Path(shutil.copytree(sample_data, tmp_path / "data", copy_function=os.link))


@pytest.fixture
def cases(bundle: Path, tmp_path: Path) -> Callable[[Path], list]:
    """``cases(dataset_dir)``: what the bundle's train.json makes of a folder."""

    def check(dataset_dir: Path) -> list:
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs/train.json"))
        parser.update({"dataset_dir": str(dataset_dir), "cache_dir": str(tmp_path / "cache")})
        return parser.get_parsed_content("cases")

    return check


def listed(bundle: Path, folder: Path) -> list[dict[str, str]]:
    return LAYOUTS[json.loads((bundle / "configs/train.json").read_text())["layout"]].datalist(folder)


def test_sound_phantoms_pass(cases: Callable, data: Path, bundle: Path) -> None:
    assert [case["case"] for case in cases(data)] == [case["case"] for case in listed(bundle, data)]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_message_names_the_file_and_its_fault(fault: str, cases: Callable, data: Path, bundle: Path) -> None:
    key, damage, text = FAULTS[fault]
    found = listed(bundle, data)
    case = found[2]
    file = files_of(case[key])[0]
    damage(file)
    with pytest.raises(RuntimeError) as error:  # MONAI's, about the config item
        cases(data)
    first, *lines = describe_error(error.value).splitlines()
    assert first.startswith(f"1 of {len(found)} cases cannot be used")
    assert [line for line in lines if line.startswith(f"  {case['case']}: {file}: ") and text in line]


@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_cases_is_named_with_what_was_expected(folder: str, cases: Callable, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError) as error:
        cases(tmp_path / folder)
    assert re.match(rf"{tmp_path / folder}.*expected", describe_error(error.value))


def test_the_training_command_lists_all_faults_at_once_and_ends_before_the_first_epoch(
    bundle: Path, data: Path, run_bundle, tmp_path: Path
) -> None:
    found = listed(bundle, data)
    damaged = [found[n % len(found)] for n in range(len(FAULTS))]  # the first case twice
    for case, (key, damage, _) in zip(damaged, FAULTS.values(), strict=True):
        damage(files_of(case[key])[0])
    paths = {"ckpt_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "train"}
    done = run_bundle(bundle, "training", "train.json", "sample.json", dataset_dir=data, device="cpu", **paths)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for case, (key, _, text) in zip(damaged, FAULTS.values(), strict=True):
        file = files_of(case[key])[0]
        assert [line for line in done.stderr.splitlines() if f": {file}: " in line and text in line], text
    assert not list(tmp_path.glob("models/*.pt"))
