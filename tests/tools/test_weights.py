"""Whose weights an evaluation or a prediction uses, and what a training starts from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from tools.weights import Weights, all_phantoms, choose, initial, is_finished

BUNDLE = "heart_net"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The folder of a bundle that ships weights."""
    return trained(tmp_path / "bundles" / BUNDLE, finished=None, at=10)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """That of a bundle that ships none."""
    (tmp_path / "bundles/bare/models").mkdir(parents=True)
    return tmp_path / "bundles/bare"


def trained(
    run: Path, *, at: int, finished: bool | None = True, phantoms: bool = False, data: str | None = None
) -> Path:
    """The folder of a run with weights of that time, and with a state of its training unless ``finished`` is None."""
    models = run / "models"
    models.mkdir(parents=True)
    plan = {"cases": ["a", "b", "c"], "demonstration_only": phantoms}
    (models / "plan.json").write_text(json.dumps(plan))
    (models / "model.pt").write_bytes(b"weights")
    if finished is not None:
        torch.save({"epoch": 9, "finished": False}, models / "model_epoch=9.pt")
        torch.save({"epoch": 10, "finished": finished}, models / "model_epoch=10.pt")
    if data is not None:
        (run / ".dataset_dir").write_text(data)
    os.utime(models / "model.pt", (at, at))
    return run


def chosen(weights: str | None, bundle: Path, *, run: Path | None = None, phantoms: bool = False) -> Path:
    """The folder of the chosen weights, relative to where all lies."""
    here = bundle.parent.parent
    own = None if run is None else str(run)
    used = choose(weights, run=own, bundle=bundle, runs=here / "runs", phantoms=phantoms)
    return used.models.relative_to(here)


def refused(weights: str | None, bundle: Path, *, run: Path | None = None, phantoms: bool = False) -> str:
    """The line that a choice ends with."""
    with pytest.raises(SystemExit) as end:
        chosen(weights, bundle, run=run, phantoms=phantoms)
    assert "\n" not in str(end.value)
    return str(end.value)


def test_the_newest_finished_run_is_used(tmp_path: Path, bundle: Path) -> None:
    for name, at in (("old", 100), ("new", 300), ("middle", 200)):
        trained(tmp_path / "runs" / name, at=at)
    assert chosen(None, bundle) == chosen("latest", bundle) == Path("runs/new/models")


def test_without_a_run_the_shipped_weights_are_used(bundle: Path) -> None:
    assert chosen(None, bundle) == Path(f"bundles/{BUNDLE}/models")


def test_a_training_that_has_not_come_to_its_end_is_passed_over(tmp_path: Path, bundle: Path) -> None:
    trained(tmp_path / "runs/done", at=100)
    trained(tmp_path / "runs/running", at=200, finished=False)
    assert chosen(None, bundle) == Path("runs/done/models")


def test_a_run_that_goes_on_after_its_end_is_unfinished_again(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", at=100)
    assert is_finished(run / "models")
    torch.save({"epoch": 11, "finished": False}, run / "models/model_epoch=11.pt")
    assert not is_finished(run / "models")


def test_a_damaged_state_is_of_no_finished_training(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", at=100)
    (run / "models/model_epoch=10.pt").write_bytes(b"damaged")
    assert not is_finished(run / "models")


def test_a_run_whose_plan_is_damaged_is_passed_over(tmp_path: Path, bundle: Path) -> None:
    run = trained(tmp_path / "runs/new", at=100)
    (run / "models/plan.json").write_text("{")
    assert chosen(None, bundle) == Path(f"bundles/{BUNDLE}/models")


def test_a_run_on_phantoms_is_used_for_phantoms_alone(tmp_path: Path, bundle: Path) -> None:
    trained(tmp_path / "runs/sample", at=100, phantoms=True)
    assert chosen(None, bundle, phantoms=True) == Path("runs/sample/models")
    assert chosen(None, bundle) == Path(f"bundles/{BUNDLE}/models")


def test_a_run_on_phantoms_is_used_for_anything_when_a_person_names_it(tmp_path: Path, bundle: Path) -> None:
    run = trained(tmp_path / "runs/sample", at=100, phantoms=True)
    assert chosen(str(run), bundle) == chosen(None, bundle, run=run) == Path("runs/sample/models")
    assert "latest" in refused("latest", bundle) and "or on generated phantoms (sample)" in refused("latest", bundle)


def test_without_any_weights_a_person_learns_what_was_passed_over(tmp_path: Path, bare: Path) -> None:
    trained(tmp_path / "runs/sample", at=100, phantoms=True)
    line = refused(None, bare)
    assert "only trainings that are unfinished, or on generated phantoms (sample)" in line
    assert "`make train BUNDLE=bare DATASET_DIR=...` first, or name a folder with WEIGHTS=" in line


def test_the_shipped_weights_are_used_when_a_person_says_so(tmp_path: Path, bundle: Path, bare: Path) -> None:
    run = trained(tmp_path / "runs/new", at=100)
    assert chosen("shipped", bundle, run=run) == Path(f"bundles/{BUNDLE}/models")
    assert refused("shipped", bare).startswith("WEIGHTS=shipped: ")


@pytest.mark.parametrize("name", ["other", "other/models"])
def test_a_folder_of_weights_is_named_as_a_run_or_itself(tmp_path: Path, bundle: Path, name: str) -> None:
    trained(tmp_path / "other", at=100, finished=False)
    assert chosen(str(tmp_path / name), bundle) == Path("other/models")


def test_a_run_with_weights_uses_its_own_finished_or_not(tmp_path: Path, bundle: Path) -> None:
    trained(tmp_path / "runs/new", at=200)
    run = trained(tmp_path / "elsewhere", at=100, finished=False)
    assert chosen(None, bundle, run=run) == Path("elsewhere/models")
    assert chosen("latest", bundle, run=run) == Path("runs/new/models")


def test_a_run_without_weights_takes_the_newest(tmp_path: Path, bundle: Path) -> None:
    trained(tmp_path / "runs/new", at=200)
    assert chosen(None, bundle, run=tmp_path / "empty") == Path("runs/new/models")


def test_a_folder_without_weights_is_named(tmp_path: Path, bundle: Path) -> None:
    line = refused(str(tmp_path), bundle)
    assert line.startswith(f"WEIGHTS={tmp_path}: {tmp_path}/models/model.pt: no such weights; `make train")


def test_a_line_says_which_weights_from_when_and_trained_on_what(tmp_path: Path, bundle: Path) -> None:
    at = 1_700_000_000
    run = trained(tmp_path / "runs/heart", at=at, phantoms=True, data="/data/atria2018")
    line = Weights(run / "models", run).described()
    assert line.startswith(f"Weights: {run}/models/model.pt, of 2023-11-1")
    assert line.endswith(", trained on 3 cases of atria2018, generated phantoms: demonstration only")
    assert Weights(bundle / "models", None).described().endswith("trained on 3 cases")


def test_a_file_in_a_generated_data_set_is_a_phantom_as_the_set_is(tmp_path: Path) -> None:
    (tmp_path / "sample/images").mkdir(parents=True)
    (tmp_path / "sample/phantom.json").write_text("{}")
    assert all_phantoms([tmp_path / "sample", tmp_path / "sample/images/a.nii.gz"])
    assert not all_phantoms([tmp_path / "sample", tmp_path / "patient.nii.gz"])


def test_a_training_starts_from_a_run_from_shipped_weights_or_from_a_file(tmp_path: Path, bundle: Path) -> None:
    run = trained(tmp_path / "runs/heart", at=100)
    assert initial(str(run), bundle, resumed=False) == run
    assert initial("shipped", bundle, resumed=False) == bundle / "models"
    assert initial(str(run / "models/model.pt"), bundle, resumed=False) == run / "models/model.pt"
    assert initial(None, bundle, resumed=False) is None


def test_weights_to_start_from_that_are_not_there_end_it_in_one_line(tmp_path: Path, bare: Path) -> None:
    with pytest.raises(SystemExit, match="INIT=shipped: bare ships no weights"):
        initial("shipped", bare, resumed=False)
    with pytest.raises(SystemExit, match=r"INIT=.*nowhere: no such file or folder of weights"):
        initial(str(tmp_path / "nowhere"), bare, resumed=False)
    assert initial(str(tmp_path / "nowhere"), bare, resumed=True) == tmp_path / "nowhere"
