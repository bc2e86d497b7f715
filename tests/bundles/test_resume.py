"""A training that was killed and resumed ends exactly as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {
    "device": "cpu", "crop": "label", "epochs": 3, "val_interval": 1, "repeats": 2, "batch_size": 2, "seed": 7
}  # fmt: skip


def start(data: Path, folder: Path, **settings: object) -> subprocess.Popen:
    configs = "['configs/train.json','configs/sample.json','configs/hybrid.json']"
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training", "--config_file", configs]
    paths = {"dataset_dir": data, "ckpt_dir": folder, "cache_dir": folder / "cache", "output_dir": folder / "output"}
    for name, value in {**SETTINGS, **paths, **settings}.items():
        command += [f"--{name}", str(value)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=REPOSITORY / "bundles/vnet_left_atrium", env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


def kill_in_the_middle_of_epoch(process: subprocess.Popen, epoch: int, folder: Path) -> None:
    before = folder / f"model_epoch={epoch - 1}.pt"
    deadline = time.monotonic() + 300
    while not before.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / f"model_epoch={epoch}.pt").exists(), "killed too late to prove anything"


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_and_resumed_training_ends_bit_identical_to_an_uninterrupted_one(
    workers: int, phantoms: Path, tmp_path: Path
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    finish(start(phantoms, straight, num_workers=workers))
    kill_in_the_middle_of_epoch(start(phantoms, broken, num_workers=workers), 2, broken)
    finish(start(phantoms, broken, num_workers=workers, resume=True))

    expected = torch.load(straight / "model_epoch=3.pt", weights_only=True)
    resumed = torch.load(broken / "model_epoch=3.pt", weights_only=True)
    assert expected["objects"]["alpha_schedule"]["alpha"] == pytest.approx(0.97)
    assert equal(resumed, expected)
    best = [torch.load(folder / "model.pt", weights_only=True) for folder in (straight, broken)]
    assert equal(*best)
