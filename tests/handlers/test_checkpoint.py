"""A killed run that is resumed equals one that was not killed."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, ScaleIntensityd
from monai.utils import set_determinism
from torch import nn

from common.command_line import describe_error
from common.datasets import CachedDataset
from common.handlers import EpochSeed, TrainingCheckpoint, ValidationHandler


class Killed(Exception):
    """Stands for the signal that ends a process."""


class Scores(Metric):
    """A validation metric that is known beforehand, one number per epoch."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores
        super().__init__(output_transform=lambda output: output)

    def reset(self) -> None: ...

    def update(self, output: Any) -> None: ...

    def completed(self, engine: Engine, name: str) -> None:
        engine.state.metrics[name] = self.scores[engine.state.epoch - 1]

    def compute(self) -> None: ...


class Counter:
    """Counts the epochs that it saw end; the last handler in the list."""

    def __init__(self) -> None:
        self.count = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._count)

    def _count(self, engine: Engine) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def train(
    folder: Path,
    *,
    epochs: int = 4,
    cases: int = 6,
    workers: int = 0,
    scores: tuple[float, ...] = (0.1, 0.4, 0.2, 0.3),
    interval: int = 1,
    killed_at: int | None = None,
    plateau: bool = False,
    validated: tuple[int, ...] = (0,),
    trained: range | None = None,
    factor: float = 1.0,
    channels: int = 2,
    **checkpoint: Any,
) -> SupervisedTrainer:
    """Train a small network with dropout on random transforms; all objects are new, as in a new process."""
    set_determinism(0)
    network = nn.Sequential(
        nn.Conv3d(1, channels, 3, padding=1),
        nn.BatchNorm3d(channels),
        nn.Dropout3d(0.3),
        nn.Conv3d(channels, 1, 1),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    if plateau:
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    augmentation = Compose([RandFlipd(["image", "label"], prob=0.5), RandGaussianNoised("image", prob=0.8)])
    images = torch.rand(cases, 1, 6, 6, 6, generator=torch.Generator().manual_seed(1))
    items = [{"case": f"p{n}", "image": image, "label": (image > 0.5).float()} for n, image in enumerate(images)]
    dataset = Dataset([items[n] for n in trained or range(cases)], augmentation)
    scaled = CachedDataset([items[n] for n in validated], [ScaleIntensityd("image", factor=factor - 1)], None)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(scaled, batch_size=1),
        network=network,
        key_val_metric={"score": Scores(list(scores))},
    )
    counter = Counter()
    handlers = [
        EpochSeed(seed=3, dataset=dataset),
        TrainingCheckpoint(
            folder,
            network,
            {"optimizer": optimizer, "scheduler": scheduler, "counter": counter},
            evaluator,
            **checkpoint,
        ),
        ValidationHandler(interval=interval, validator=evaluator),
        LrScheduleHandler(
            scheduler,
            print_lr=False,
            # without a score every epoch would be the best so far
            step_transform=lambda engine: evaluator.state.metrics.get("score", -engine.state.epoch) if plateau else (),
        ),
        counter,
    ]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_size=2, shuffle=True, num_workers=workers),
        network=network,
        optimizer=optimizer,
        loss_function=nn.BCEWithLogitsLoss(),
        train_handlers=handlers,
    )
    if killed_at is not None:

        @trainer.on(Events.ITERATION_STARTED(once=killed_at))
        def kill(engine: Engine) -> None:
            raise Killed

        with pytest.raises(Killed):
            trainer.run()
    else:
        trainer.run()
    return trainer


def load(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are stored."""
    return {key: value.half() for key, value in state.items()}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def assert_same(one: Any, other: Any) -> None:
    """Equal in every bit, whatever the nesting."""
    torch.testing.assert_close(without_text(one), without_text(other), rtol=0, atol=0)


def without_text(state: Any) -> Any:
    """The same with numbers for text, which torch does not compare."""
    if isinstance(state, dict):
        return {key: without_text(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [without_text(value) for value in state]
    return list(state.encode()) if isinstance(state, str) else state


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run of four epochs leaves."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(folder)
    return folder


@pytest.fixture
def straight(uninterrupted: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(uninterrupted, tmp_path / "straight"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("killed_at", [7, 9], ids=["as epoch 3 starts", "in the middle of epoch 3"])
def test_resumed_run_ends_with_the_very_bits_of_an_uninterrupted_one(tmp_path, workers, killed_at):
    train(tmp_path / "straight", workers=workers)
    train(tmp_path / "killed", workers=workers, killed_at=killed_at)
    assert "model_epoch=3.pt" not in names(tmp_path / "killed")
    train(tmp_path / "killed", workers=workers, resume=True)
    for name in ("model_epoch=4.pt", "model.pt"):
        assert_same(load(tmp_path / "killed" / name), load(tmp_path / "straight" / name))


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_plateau_is_judged_by_the_last_validation_also_after_resuming(tmp_path, epoch):
    settings = {"epochs": 5, "scores": (0.0, 0.5, 0.0, 0.4, 0.3), "interval": 2, "plateau": True}
    train(tmp_path / "straight", **settings)
    train(tmp_path / "killed", killed_at=3 * epoch + 2, **settings)
    train(tmp_path / "killed", resume=True, **settings)
    assert_same(load(tmp_path / "killed/model_epoch=5.pt"), load(tmp_path / "straight/model_epoch=5.pt"))


def test_a_state_that_finds_no_room_is_an_error_with_its_name_and_the_run_goes_on_from_the_one_before(
    tmp_path, straight, monkeypatch
):
    sync = os.fsync

    def full(descriptor: int) -> None:
        if "model_epoch=3" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    file = tmp_path / "run/model_epoch=3.pt"
    with pytest.raises(OSError) as error:
        train(tmp_path / "run")
    assert describe_error(error.value) == f"{file}: No space left on device"
    assert names(tmp_path / "run") == ["model.pt", "model_epoch=1.pt", "model_epoch=2.pt"]
    monkeypatch.setattr(os, "fsync", sync)
    train(tmp_path / "run", resume=True)
    assert_same(load(tmp_path / "run/model_epoch=4.pt"), load(straight / "model_epoch=4.pt"))


def test_state_is_that_after_all_other_handlers_of_the_epoch(straight):
    state = load(straight / "model_epoch=4.pt")
    assert state["objects"]["counter"] == {"count": 4}
    assert state["objects"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.7**4)
    assert (state["best_metric"], state["best_metric_epoch"]) == (0.4, 2)


def test_best_file_holds_the_network_of_the_best_epoch(tmp_path):
    train(tmp_path, keep=4)
    expected = {key: value.half() for key, value in load(tmp_path / "model_epoch=2.pt")["network"].items()}
    best = {key: value.half() for key, value in load(tmp_path / "model.pt").items()}
    assert_same(best, expected)


def test_resumed_run_does_not_replace_the_best_by_a_worse(tmp_path):
    train(tmp_path, epochs=2, scores=(0.1, 0.9))
    best = (tmp_path / "model.pt").read_bytes()
    train(tmp_path, epochs=4, scores=(0.1, 0.9, 0.5, 0.8), resume=True)
    assert (tmp_path / "model.pt").read_bytes() == best


def test_resumed_run_replaces_the_best_by_a_better(tmp_path):
    train(tmp_path, epochs=2, scores=(0.1, 0.9))
    best = (tmp_path / "model.pt").read_bytes()
    train(tmp_path, epochs=3, scores=(0.1, 0.9, 0.95), resume=True)
    assert (tmp_path / "model.pt").read_bytes() != best


def test_an_earlier_runs_model_is_replaced_by_the_first_validation_also_by_a_worse_one(tmp_path):
    train(tmp_path, epochs=1, scores=(0.9,))
    before = load(tmp_path / "model.pt")
    train(tmp_path, epochs=2, scores=(0.1, 0.2), interval=2)
    after, state = load(tmp_path / "model.pt"), load(tmp_path / "model_epoch=2.pt")
    assert state["best_metric"] == 0.2
    assert_same(halved(after), halved(state["network"]))
    assert not all(torch.equal(value, before[key]) for key, value in after.items())


def test_a_metric_that_is_never_a_number_leaves_the_last_validated_weights_and_says_so(tmp_path, caplog):
    train(tmp_path, epochs=1, scores=(0.9,))
    train(tmp_path, epochs=3, scores=(float("nan"),) * 3, interval=2)
    state = load(tmp_path / "model_epoch=3.pt")
    assert_same(halved(load(tmp_path / "model.pt")), halved(state["network"]))
    assert "no validation metric is a number yet" in caplog.text


def test_a_number_replaces_the_weights_of_a_metric_that_was_none(tmp_path):
    nan = float("nan")
    train(tmp_path, epochs=3, scores=(nan, 0.3, nan), keep=3)
    state = load(tmp_path / "model_epoch=2.pt")
    assert_same(halved(load(tmp_path / "model.pt")), halved(state["network"]))


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"rubbish"])
def test_damaged_newest_state_falls_back_to_the_one_before(tmp_path, straight, damage):
    train(tmp_path / "run", killed_at=10)
    newest = tmp_path / "run" / "model_epoch=3.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    train(tmp_path / "run", resume=True)
    assert_same(load(tmp_path / "run" / "model_epoch=4.pt"), load(straight / "model_epoch=4.pt"))


def test_newest_two_states_are_kept_also_of_an_earlier_run(tmp_path):
    train(tmp_path, epochs=2)
    assert names(tmp_path) == ["model.pt", "model_epoch=1.pt", "model_epoch=2.pt"]
    train(tmp_path, epochs=4, resume=True)
    assert names(tmp_path) == ["model.pt", "model_epoch=3.pt", "model_epoch=4.pt"]


def test_states_of_an_earlier_run_stay_until_the_first_one_of_a_new_run(tmp_path, caplog):
    train(tmp_path, epochs=3)
    train(tmp_path, killed_at=2)
    assert names(tmp_path) == ["model.pt", "model_epoch=2.pt", "model_epoch=3.pt"]
    assert "model_epoch=3.pt and others are of an earlier training" in caplog.text


def test_new_run_clears_the_states_of_an_earlier_one_but_not_another_stages(tmp_path):
    train(tmp_path, epochs=3)
    train(tmp_path, epochs=1, name="locator")
    train(tmp_path, epochs=1)
    assert names(tmp_path) == ["locator.pt", "locator_epoch=1.pt", "model.pt", "model_epoch=1.pt"]


def test_what_a_killed_run_left_half_written_is_cleared_away_but_not_another_stages(tmp_path):
    for name in (".partial1_2_model.pt", ".partial1_2_model_epoch=7.pt", ".partial1_2_locator.pt"):
        (tmp_path / name).touch()
    train(tmp_path, epochs=1)
    assert names(tmp_path) == [".partial1_2_locator.pt", "model.pt", "model_epoch=1.pt"]


def test_newest_state_is_that_of_the_highest_number(tmp_path):
    train(tmp_path, epochs=2)
    for written, name in ((1, 9), (2, 10)):
        (tmp_path / f"model_epoch={written}.pt").rename(tmp_path / f"model_epoch={name}.pt")
    with pytest.raises(ValueError, match=r"model_epoch=10\.pt is of epoch 2"):
        train(tmp_path, epochs=1, resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("another file", r"is no training state of this network .*; resume"),
        ("other shapes", r"is of another network: .*Resume with the network of the run"),
        ("another network", r"is of another network: .*Resume with the network of the run"),
    ],
)
def test_a_state_that_does_not_plan_is_named_in_one_line_with_what_to_do(tmp_path, change, said):
    train(tmp_path, epochs=2)
    for file in tmp_path.glob("model_epoch=*.pt"):
        state = load(file)
        name, value = next(iter(state["network"].items()))
        changed = {"other shapes": {**state["network"], name: value[:1]}, "another network": {"layer": value}}
        state = {**state, "network": changed[change]} if change in changed else {"weight": value}
        torch.save(state, file)
    with pytest.raises(ValueError, match=rf"model_epoch=2\.pt:? {said}") as error:
        train(tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_resume_with_nothing_there_starts_anew(tmp_path, straight):
    train(tmp_path / "empty", resume=True)
    assert_same(load(tmp_path / "empty" / "model_epoch=4.pt"), load(straight / "model_epoch=4.pt"))


def test_finished_run_that_is_resumed_changes_nothing(straight):
    before = load(straight / "model_epoch=4.pt")
    assert train(straight, resume=True).state.epoch == 4
    assert_same(load(straight / "model_epoch=4.pt"), before)


def test_state_of_a_later_epoch_than_the_run_is_to_reach_is_an_error(straight):
    with pytest.raises(ValueError, match=r"epoch=4\.pt is of epoch 4.*raise --epochs"):
        train(straight, epochs=3, resume=True)


def test_other_number_of_iterations_per_epoch_counts_from_there_on(tmp_path):
    train(tmp_path, epochs=2)
    state = train(tmp_path, cases=8, resume=True).state
    assert (state.epoch, state.epoch_length, state.iteration) == (4, 4, 16)


@pytest.mark.parametrize("resume", ["true", "True", 1, None])
def test_resume_that_is_no_boolean_is_refused(tmp_path, resume):
    with pytest.raises(ValueError, match="resume must be True or False"):
        train(tmp_path, resume=resume)


def test_a_case_that_was_trained_on_is_not_validated_on_resuming(tmp_path):
    """Another fold: cases 1 to 5 were trained on, and case 1 is validated now."""
    train(tmp_path, epochs=2, trained=range(1, 6), validated=(0,))
    with pytest.raises(ValueError, match=r"epoch=2\.pt was trained on what is now validated \(p1\)"):
        train(tmp_path, trained=range(2, 6), validated=(1,), resume=True)


def test_a_case_that_was_once_trained_on_is_remembered(tmp_path):
    train(tmp_path, epochs=1, trained=range(1, 6), validated=(0,))
    train(tmp_path, epochs=2, trained=range(2, 6), validated=(0,), resume=True)
    with pytest.raises(ValueError, match="now validated"):
        train(tmp_path, epochs=3, trained=range(2, 6), validated=(1,), resume=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"validated": (0, 1)}, "other cases are validated"), ({"factor": 2.0}, "data is prepared in another way")],
)
def test_the_best_of_another_validation_gives_way_to_the_first_that_follows_also_to_a_worse_one(
    tmp_path, caplog, changed, said
):
    train(tmp_path, epochs=2, scores=(0.1, 0.9), trained=range(2, 6))
    train(tmp_path, epochs=3, scores=(0.1, 0.9, 0.2), trained=range(2, 6), resume=True, **changed)
    state = load(tmp_path / "model_epoch=3.pt")
    assert (state["best_metric"], state["best_metric_epoch"]) == (0.2, 3)
    assert_same(halved(load(tmp_path / "model.pt")), halved(state["network"]))
    assert f"{said} than before: the best metric so far, 0.9000, does not count any more" in caplog.text


def test_a_finished_run_is_not_resumed_with_data_that_is_prepared_in_another_way(tmp_path):
    train(tmp_path, epochs=2)
    before = (tmp_path / "model.pt").read_bytes()
    with pytest.raises(ValueError, match=r"of the last epoch, and data is prepared in another way .* raise --epochs"):
        train(tmp_path, epochs=2, factor=2.0, resume=True)
    assert (tmp_path / "model.pt").read_bytes() == before


def test_a_state_of_another_network_is_refused_in_one_line(tmp_path):
    train(tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"model_epoch=1\.pt is of another network: .* RUN=$") as error:
        train(tmp_path, epochs=2, channels=3, resume=True)
    assert "\n" not in str(error.value)
