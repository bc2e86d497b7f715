"""Folders of runs: told apart by their data, used by one training at a time, and never trained over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import pipeline
from tools.runs import only_training, record_data, run_folder, training_states
from tools.stages import Outcome, run_all

REPOSITORY = Path(__file__).parents[2]


def used(home: Path, data: Path, *, suffix: str = "") -> str:
    """The name of the folder that a run on some data gets, after which it is taken."""
    folder = run_folder(home, [data], name=data.name, suffix=suffix)
    folder.mkdir(parents=True, exist_ok=True)
    record_data(folder, [data])
    return folder.name


def test_two_images_of_one_name_get_a_folder_each(tmp_path: Path) -> None:
    names = [used(tmp_path, Path(f"/data/{patient}/image.nii.gz")) for patient in ("p1", "p2", "p3")]
    assert names == ["image.nii.gz", "p2_image.nii.gz", "p3_image.nii.gz"]


def test_the_same_data_gets_the_same_folder_again(tmp_path: Path) -> None:
    data = [Path("/a/heart"), Path("/b/heart"), Path("/c/b/heart")]
    first = [used(tmp_path, path) for path in data]
    assert first == ["heart", "b_heart", "c_b_heart"]
    assert [used(tmp_path, path) for path in data] == first


def test_the_second_data_keeps_its_folder_when_the_firsts_is_deleted(tmp_path: Path) -> None:
    used(tmp_path, Path("/a/heart"))
    assert used(tmp_path, Path("/b/heart")) == "b_heart"
    (tmp_path / "heart/.dataset_dir").unlink()
    (tmp_path / "heart").rmdir()
    assert used(tmp_path, Path("/b/heart")) == "b_heart"


def test_names_that_join_to_the_same_text_are_told_apart(tmp_path: Path) -> None:
    data = [Path("/x_y/a"), Path("/y/a"), Path("/x/y/a"), Path("/x/y_a"), Path("/q/x_y_a")]
    assert len({used(tmp_path, path) for path in data}) == len(data)


def test_results_of_shipped_weights_are_no_training_of_a_data_set_of_that_name(tmp_path: Path) -> None:
    assert used(tmp_path, Path("/a/heart"), suffix="_shipped_weights") == "heart_shipped_weights"
    assert used(tmp_path, Path("/a/heart_shipped_weights")) == "a_heart_shipped_weights"


def test_a_run_on_data_whose_name_is_no_utf_8_has_a_name_that_is(tmp_path: Path) -> None:
    names = [used(tmp_path, Path(f"/data/{name}")) for name in ("M\udcfcller", "M\udcf6ller", "M\udcfcller")]
    assert names == ["M\ufffdller", "data_M\ufffdller", "M\ufffdller"]


def test_lists_of_data_are_told_apart(tmp_path: Path) -> None:
    first, second = [Path("/a"), Path("/b")], [Path("/a"), Path("/c")]
    for data, name in ((first, "list"), (second, "list_2"), (first, "list")):
        folder = run_folder(tmp_path, data, name="list")
        folder.mkdir(exist_ok=True)
        record_data(folder, data)
        assert folder.name == name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with an empty data set `data`; no stage is run."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "run_all", lambda planned, **_: Outcome({}))
    return tmp_path


def train(**options: object) -> object:
    """How `make train` ends: 0, or the line that it prints."""
    with pytest.raises(SystemExit) as end:
        pipeline.train("vnet_left_atrium", "data", **options)
    return end.value.code


@pytest.mark.parametrize("state", ["model_epoch=3.pt", "locator_epoch=1.pt"])
def test_a_used_run_is_not_trained_over(here: Path, state: str) -> None:
    (here / "out/models").mkdir(parents=True)
    (here / "out/models" / state).write_bytes(b"state")
    line = train(run="out")
    assert "\n" not in line and f"holds a training already (models/{state})" in line
    assert 'ARGS="--resume True"' in line and "RUN=another_folder" in line
    assert [path.name for path in (here / "out/models").iterdir()] == [state]


def test_a_used_run_is_resumed_when_a_person_says_so(here: Path) -> None:
    (here / "out/models").mkdir(parents=True)
    (here / "out/models/model_epoch=3.pt").write_bytes(b"state")
    assert train(run="out", resume="True") == 0
    assert train(run="out", resume="False") != 0


def test_weights_alone_are_no_used_run(here: Path) -> None:
    (here / "out/models").mkdir(parents=True)
    for name in ("model.pt", "plan.json", ".partial1_2_model_epoch=1.pt"):
        (here / "out/models" / name).write_text("{}")
    assert train(run="out") == 0


def test_the_states_of_another_folder_of_weights_count_where_they_are_written(here: Path) -> None:
    (here / "weights").mkdir()
    (here / "weights/model_epoch=3.pt").write_bytes(b"state")
    assert "holds a training already" in train(run="out", ckpt_dir=str(here / "weights"))


def test_a_file_in_place_of_the_runs_folder_is_named(here: Path) -> None:
    (here / "out").write_bytes(b"")
    assert train(run="out") == "RUN=out: is a file, expected the folder of a run"


@pytest.mark.parametrize("name", ["M\udcfcller", "a\nb", " ", "\x1b"])
def test_a_run_that_cannot_be_written_everywhere_is_refused(here: Path, name: str) -> None:
    assert str(train(run=name)).startswith("RUN=") and not (here / "runs").exists()


@pytest.mark.parametrize("name", ["~/hbrun", "~"])
def test_the_home_folder_is_meant_by_its_sign(here: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    assert train(run=name) == 0
    assert (here / "home" / name[2:]).is_dir() and not (here / "~").exists()


def test_only_states_written_since_then_are_found(tmp_path: Path) -> None:
    for name, at in (("model_epoch=1.pt", 100), ("model_epoch=2.pt", 200), ("model.pt", 300)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert [path.name for path in training_states(tmp_path, since=150)] == ["model_epoch=2.pt"]


HOLD = """
import sys, time
from pathlib import Path
from tools.runs import only_training
from tools.stages import run_all
with only_training(Path(sys.argv[1])) as lock:
    stage = "import time; print('training', flush=True); time.sleep(float('" + sys.argv[2] + "'))"
    run_all({"train": [sys.executable, "-c", stage]}, cwd=Path("."), inherited=[lock])
"""


def holding(folder: Path, seconds: float) -> subprocess.Popen:
    """A process whose stage trains in that folder for so long."""
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while process.stdout.readline() != "training\n":
        pass
    return process


def test_a_second_training_in_one_run_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with holding(tmp_path, 60) as process:
        told = pytest.raises(RuntimeError, match=rf"a training is running there \(process {process.pid}\)")
        with told, only_training(tmp_path, patience=0):
            pass
        os.killpg(process.pid, signal.SIGINT)


def test_a_training_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    """Its stage, which lives a second longer, is waited for."""
    with holding(tmp_path, 1) as process:
        process.kill()
    with only_training(tmp_path):
        pass


def test_a_stage_that_outlives_the_pipeline_still_holds_the_run(tmp_path: Path) -> None:
    with holding(tmp_path, 3) as process:
        process.kill()
    with pytest.raises(RuntimeError, match="a training is running there"), only_training(tmp_path, patience=0):
        pass


STAGE = """
import signal, sys, time
def end(*_):
    print("Interrupted", file=sys.stderr)
    sys.exit(130)
signal.signal(signal.SIGINT, end)
print("training", flush=True)
time.sleep(60)
"""


def test_an_interrupted_stage_ends_the_pipeline_with_one_line_and_exit_code_130(tmp_path: Path) -> None:
    """As a terminal does, the signal goes to the process and to its stage."""
    code = f"import sys; from pathlib import Path; from tools.stages import run_all\nstage = {STAGE!r}\n"
    code += "end = run_all({'train': [sys.executable, '-c', stage]}, cwd=Path('.'))\n"
    code += "print(end.message, end='', file=sys.stderr); sys.exit(end.code)"
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, start_new_session=True, **pipe) as process:
        while process.stdout.readline() != "training\n":
            pass
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, printed = process.communicate()
    assert (process.returncode, printed) == (130, "Interrupted\n")


def test_a_stage_that_said_nothing_of_its_interruption_is_named(tmp_path: Path) -> None:
    stage = [sys.executable, "-c", "import os, signal; signal.signal(2, 0); os.kill(os.getpid(), 2)"]
    outcome = run_all({"train": stage}, cwd=tmp_path)
    assert (outcome.code, outcome.message) == (130, "train: interrupted")
