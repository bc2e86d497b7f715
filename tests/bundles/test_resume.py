"""A training that was killed and resumed ends exactly as one that was not."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

Train = Callable[..., None]
KILLED = Path(__file__).with_name("killed.py")
WORKERS = max(1, (os.cpu_count() or 1))  # trainings side by side, of one thread each


@dataclass(frozen=True)
class Killed:
    """A training that was killed and resumed: where it is, and the newest whole state that it was resumed from."""

    folder: Path
    resumed_from: dict[str, Any]


def newest(folder: Path, name: str = "model") -> Path:
    return max(folder.glob(f"{name}_epoch=*.pt"), key=lambda file: int(file.stem.split("=")[1]))


def load(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Equal in every bit, whatever the nesting."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def trainer_of(run_bundle, bundle: Path, configs: tuple[str, ...], **settings: object) -> Train:
    """``train(folder, moment=None, resume=False)``: train in a folder, perhaps until killed at that moment."""

    def train(folder: Path, moment: str | None = None, **more: object) -> None:
        paths = {"ckpt_dir": folder, "cache_dir": folder / "cache", "output_dir": folder / "output"}
        launcher = {} if moment is None else {"launcher": (KILLED, moment)}
        done = run_bundle(bundle, "training", *configs, **settings, **paths, **more, **launcher)
        expected = 0 if moment is None else -signal.SIGKILL
        assert done.returncode == expected, done.stdout + done.stderr

    return train


def killed_and_resumed(train: Train, folder: Path, moment: str) -> Killed:
    train(folder, moment)
    state = load(newest(folder))
    train(folder, resume=True)
    return Killed(folder, state)


@pytest.mark.slow_but_for("vox2vox")
def test_a_killed_and_resumed_training_of_any_bundle_ends_as_an_uninterrupted_one(
    bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path: Path
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):  # with the earlier stages' weights and what training planned
        shutil.copytree(trained / "models", folder, ignore=shutil.ignore_patterns("model*.pt"))
        shutil.copytree(trained / "cache", folder / "cache")
    settings = {
        "epochs": 2,
        "val_interval": 1,
        "num_workers": 0,
        "device": "cpu",
        "seed": 7,
        "dataset_dir": sample_data,
    }
    train = trainer_of(run_bundle, bundle, ("train.json", "sample.json"), **settings)
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = pool.submit(train, straight), pool.submit(killed_and_resumed, train, killed, "iterating:2")
        assert [run.result() for run in runs][1].resumed_from["epoch"] == 1
    assert same(load(killed / "model_epoch=2.pt"), load(straight / "model_epoch=2.pt"))
    assert same(load(killed / "model.pt"), load(straight / "model.pt"))


# The schedules of the paper, with a patience that lets the learning rate fall after every epoch but the first, and a
# small network. With this seed the validation Dice rises up to epoch 3 and falls in epoch 4.
RECIPE = ("train.json", "paper.json", "sample.json", "hybrid.json")
SETTINGS = {"device": "cpu", "crop": "label", "val_interval": 1, "repeats": 1, "batch_size": 1, "seed": 5}
SETTINGS |= {"learning_rate": 0.001, "lr_scheduler#patience": 0, "lr_scheduler#threshold": 0.9, "epochs": 4}
SETTINGS["network_def"] = {
    "_target_": "BasicUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "features": [4, 4, 8, 8, 8, 4]
}  # fmt: skip
MOMENTS = {  # moment, num_workers
    "in the middle of epoch 3": ("iterating:3", 0),
    "in the middle of epoch 3, with workers": ("iterating:3", 2),
    "with half of the training state written": ("half:model_epoch=3.pt", 0),
    "between the best model and the training state": ("before:model_epoch=3.pt", 0),
}


@pytest.fixture(scope="module")
def runs(phantoms: Path, run_bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[object, Any]:
    """The left atrium's training with all schedules: uninterrupted, by its number of workers, and killed, by moment."""
    train = trainer_of(run_bundle, Path("vnet_left_atrium"), RECIPE, dataset_dir=phantoms, **SETTINGS)
    root = tmp_path_factory.mktemp("resume")
    with ThreadPoolExecutor(WORKERS) as pool:
        straight = {n: pool.submit(train, root / f"straight{n}", num_workers=n) for n in (0, 2)}
        killed = {
            name: pool.submit(
                killed_and_resumed, lambda *a, n=n, **k: train(*a, num_workers=n, **k), root / str(k), moment
            )
            for k, (name, (moment, n)) in enumerate(MOMENTS.items())
        }
        for run in straight.values():
            run.result()
        folders = {n: root / f"straight{n}" for n in straight}
        return folders | {name: run.result() for name, run in killed.items()}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.slow
def test_a_training_with_all_schedules_that_was_killed_ends_as_an_uninterrupted_one(moment: str, runs: dict) -> None:
    straight, killed = runs[MOMENTS[moment][1]], runs[moment].folder
    for name in ("model_epoch=3.pt", "model_epoch=4.pt", "model.pt"):
        assert same(load(killed / name), load(straight / name))
    assert sorted(file.name for file in killed.glob("*")) == sorted(file.name for file in straight.glob("*"))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.slow
def test_both_schedules_had_moved_before_the_kill(moment: str, runs: dict) -> None:
    state = runs[moment].resumed_from
    assert state["epoch"] == 2
    assert state["objects"]["lr_scheduler"]["_last_lr"] == [pytest.approx(0.001 * 0.8)]
    assert state["objects"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.001 * 0.8)
    assert state["objects"]["alpha_schedule"]["alpha"] == pytest.approx(0.98)


@pytest.mark.slow
def test_schedules_go_on_from_where_they_were(runs: dict) -> None:
    state = load(runs["in the middle of epoch 3"].folder / "model_epoch=4.pt")
    assert state["objects"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.001 * 0.8**3)
    assert state["objects"]["alpha_schedule"]["alpha"] == pytest.approx(0.96)


@pytest.mark.parametrize("moment", [name for name, (_, workers) in MOMENTS.items() if workers == 0])
@pytest.mark.slow
def test_the_best_model_is_that_of_the_best_epoch_and_not_replaced_by_a_worse(moment: str, runs: dict) -> None:
    best, last = (load(runs[moment].folder / f"model_epoch={n}.pt") for n in (3, 4))
    dice = last["objects"]["learning_curve"]["metrics"]
    assert max(dice, key=dice.get) == 3, "choose another seed"
    assert (last["best_metric"], last["best_metric_epoch"]) == (dice[3], 3)
    expected = {key: value.half() for key, value in best["network"].items()}
    assert same(load(runs[moment].folder / "model.pt"), expected)
