"""A disk without room, or a folder that cannot be written: what could not be written is said, all else is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from common.datasets.layouts.registry import LAYOUTS

pytestmark = pytest.mark.slow_but_for("vox2vox")

FULL = Path(__file__).with_name("full_disk.py")
Command = Callable[..., CompletedProcess]


def listed(bundle: Path, folder: Path) -> list[dict]:
    return LAYOUTS[json.loads((bundle / "configs/plan.json").read_text())["layout"]](folder).cases


def lines(done: CompletedProcess) -> list[str]:
    """What a person reads of an error on the terminal, which has no traceback."""
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if "parsing config_file" not in line]


def failures(out: Path) -> list[dict[str, str]]:
    return json.loads((out / "failures.json").read_text())


@pytest.fixture
def predict(bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path: Path) -> Command:
    """``predict(pattern)``: two cases, on a disk that is full for files of that pattern."""

    def run(pattern: str, **settings: object) -> CompletedProcess:
        cases = [{key: case[key] for key in ("case", "image")} for case in listed(bundle, sample_data)[:2]]
        (tmp_path / "list.json").write_text(json.dumps(cases))
        paths = {"dataset_dir": tmp_path / "list.json", "ckpt_dir": trained / "models", "output_dir": tmp_path / "out"}
        settings = {"device": "cpu", "num_workers": 0, "pictures": 1} | paths | settings
        return run_bundle(bundle, "run", "inference.json", "sample.json", launcher=(FULL, pattern), **settings)

    return run


@pytest.fixture
def evaluate(bundle: Path, trained: Path, run_bundle, tmp_path: Path) -> Command:
    def run(pattern: str, folder: Path) -> CompletedProcess:
        paths = {"dataset_dir": folder, "ckpt_dir": trained / "models", "output_dir": tmp_path / "out"}
        settings = {"device": "cpu", "num_workers": 0, "pictures": 1, "selected": "$@cases[:2]"}
        configs = ("train.json", "sample.json", "evaluate.json")
        return run_bundle(bundle, "run", *configs, launcher=(FULL, pattern), **paths, **settings)

    return run


def test_nothing_is_predicted_or_measured_where_nothing_can_be_written(
    predict: Command, evaluate: Command, sample_data: Path, tmp_path: Path
) -> None:
    for done in (predict("."), evaluate(".", sample_data)):
        assert done.returncode == 1
        (line,) = lines(done)
        assert line.startswith(f"{tmp_path / 'out'}: No space left on device; nothing can be written there")
        assert list((tmp_path / "out").iterdir()) == []


def test_predictions_that_find_no_room_are_listed_and_the_reports_are_written(predict: Command, tmp_path: Path) -> None:
    done = predict("_seg")
    assert done.returncode == 1
    assert lines(done) == [f"2 of 2 cases failed, listed in {tmp_path / 'out/failures.json'}"]
    assert len(failures(tmp_path / "out")) == 2
    assert all(row["reason"].endswith(": No space left on device") for row in failures(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.glob("out/*")) == ["costs.csv", "costs.json", "failures.json"]


def test_reports_that_find_no_room_are_named_and_the_others_and_the_predictions_are_written(
    predict: Command, tmp_path: Path
) -> None:
    done = predict(r"failures\.json|costs\.csv|pictures")
    assert done.returncode == 1
    (line,) = lines(done)
    assert line.startswith("not written: ") and line.count(str(tmp_path / "out")) == 3
    assert done.stdout.count("cannot be written (No space left on device)") == 3
    left = sorted(path.name for path in tmp_path.glob("out/*") if path.is_file())
    assert len(left) == 3 and [name for name in left if "_seg." not in name] == ["costs.json"]


def test_a_bad_label_is_named_and_a_summary_without_room_costs_neither_tables_nor_pictures(
    evaluate: Command, bundle: Path, sample_data: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(sample_data, tmp_path / "data"))
    bad, good = listed(bundle, data)[:2]
    label = Path(bad["label"])
    label.write_bytes(label.read_bytes()[: label.stat().st_size // 2])
    done = evaluate(r"metrics\.json", data)
    assert done.returncode == 1
    out = tmp_path / "out"
    (line,) = lines(done)
    assert line == f"1 of 2 cases failed, listed in {out / 'failures.json'}; not written: {out / 'metrics.json'}"
    assert [(row["case"], row["path"]) for row in failures(out)] == [(bad["case"], bad["label"])]
    assert good["case"] in (out / "metrics.csv").read_text()
    assert [path.name for path in out.glob("pictures/*")] == [f"{good['case']}.png"]
    assert {"costs.csv", "costs.json"} <= {path.name for path in out.iterdir()}


@pytest.fixture
def train(bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path: Path) -> Command:
    """An epoch of the bundle's last stage, after what another training planned."""
    ignored = shutil.ignore_patterns("model*.pt")
    for name in ("models", "cache"):
        shutil.copytree(trained / name, tmp_path / name, ignore=ignored)

    def run(pattern: str) -> CompletedProcess:
        paths = {name: tmp_path / place for name, place in (("ckpt_dir", "models"), ("cache_dir", "cache"))}
        settings = {"epochs": 1, "val_interval": 1, "num_workers": 0, "device": "cpu", "dataset_dir": sample_data}
        settings |= paths | {"output_dir": tmp_path / "out"}
        return run_bundle(bundle, "training", "train.json", "sample.json", launcher=(FULL, pattern), **settings)

    return run


def test_a_training_whose_reports_cannot_be_written_says_so_once_and_goes_on(train: Command, tmp_path: Path) -> None:
    done = train("learning_curve|tfevents")
    assert done.returncode == 0 and lines(done) == []
    assert sorted(path.name for path in tmp_path.glob("models/model*")) == ["model.pt", "model_epoch=1.pt"]
    said = [line for line in done.stdout.splitlines() if "cannot be written" in line]
    assert len([line for line in said if "learning_curve.png" in line]) == 1
    assert 1 <= len([line for line in said if "tfevents" in line]) <= 2  # of training and of validation
    assert len(said) <= 3


def test_a_training_state_that_finds_no_room_ends_the_training_in_one_line(train: Command, tmp_path: Path) -> None:
    done = train("model_epoch=")
    assert done.returncode == 1
    (line,) = lines(done)
    assert line.startswith(f"{tmp_path / 'models/model_epoch=1.pt'}: No space left on device")


@pytest.mark.parametrize("case", ["../../../x", "/x", "a/b", ".."])
def test_a_listed_case_whose_file_would_lie_elsewhere_is_refused(
    bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path: Path, case: str
) -> None:
    image = listed(bundle, sample_data)[0]["image"]
    (tmp_path / "list.json").write_text(json.dumps([{"case": case, "image": image}]))
    out = tmp_path / "deep/er/out"
    settings = {"dataset_dir": tmp_path / "list.json", "ckpt_dir": trained / "models", "output_dir": out}
    done = run_bundle(bundle, "run", "inference.json", "sample.json", device="cpu", num_workers=0, **settings)
    assert done.returncode == 1
    assert f"case '{case}' is no name of a file" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if "_seg" in path.name] == []
