"""Two processes, started by torchrun, do together what one does alone, and none waits for one that died."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from monai.bundle import ConfigWorkflow

from common.datasets.layouts.registry import LAYOUTS
from common.files import files_of

REPOSITORY = Path(__file__).parents[2]
VNET = REPOSITORY / "bundles/vnet_left_atrium"
OVERLAY = {"train.json": "multi_gpu_train.json", "inference.json": "multi_gpu_inference.json"}

# A coarse grid, to be quick.
TINY = {
    "device": "cpu", "amp": False, "num_workers": 0, "crop": "label", "spacing": [5.0, 5.0, 5.0],
    "patch": [32, 32, 32], "roi_size": [32, 32, 32],
}  # fmt: skip
# Nothing is drawn and the loss is a mean over cases, so two processes take the steps of one; Adam divides by at least
# 0.001, so that rounding does not decide where a weight without a gradient goes.
COMPARABLE = TINY | {
    "augmentation": {"_target_": "Identityd", "keys": "image"}, "train#dataloader#shuffle": False, "loss#batch": False,
    "optimizer#eps": 0.001, "lr_scheduler#warmup_steps": 5, "learning_rate": 0.001, "epochs": 3, "val_interval": 3,
    "repeats": 5, "batch_size": 2,
}  # fmt: skip

# Put where Python looks for it at its start: notes which process opens files for writing or gives them their names.
RECORDER = """
import os, sys
def note(event, args):
    if event == "open" and isinstance(args[0], str) and args[2] and args[2] & (os.O_WRONLY | os.O_RDWR):
        path = args[0]
    elif event == "os.rename":
        path = args[1]
    else:
        return
    log = os.open(os.environ["WRITERS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "writers" not in str(path) else None
    if log is not None:
        os.write(log, f"{os.environ.get('RANK')} {os.fspath(path)}\\n".encode())
        os.close(log)
sys.addaudithook(note)
"""


def start(processes: int, run_id: str, *configs: str, bundle: Path = VNET, **settings: object) -> subprocess.Popen:
    """``monai.bundle run`` in so many processes; more than one with the overlay for them."""
    names, launcher = list(configs), []
    if processes > 1:
        names.append("multi_gpu_evaluate.json" if "evaluate.json" in configs else OVERLAY[configs[0]])
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *launcher, "-m", "monai.bundle", "run", run_id]
    command += ["--config_file", str([f"configs/{name}" for name in names])]
    command += [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    folder = Path(settings["output_dir"]).parent
    (folder / "recorder").mkdir(parents=True, exist_ok=True)
    (folder / "recorder/sitecustomize.py").write_text(RECORDER)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(folder / "recorder"), str(REPOSITORY)]),
        "OMP_NUM_THREADS": "1",
        "WRITERS": str(folder / "writers.txt"),
    }
    return subprocess.Popen(
        command, cwd=bundle, env={**os.environ, **environment}, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen, timeout: float = 300) -> tuple[int, str, str]:
    """Exit code, output and errors; a run that hangs is ended and fails the test."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"still running after {timeout} s\n{out[-2000:]}\n{err[-2000:]}")
    return process.returncode, out, err


def succeed(process: subprocess.Popen) -> tuple[str, str]:
    code, out, err = finish(process)
    assert code == 0, out[-3000:] + err[-3000:]
    return out, err


def paths(folder: Path, output: str = "train") -> dict[str, Path]:
    return {"ckpt_dir": folder / "models", "cache_dir": folder / "cache", "output_dir": folder / output}


def written(folder: Path, inside: str) -> dict[str, list[str]]:
    """Name of each file written in ``folder/inside`` -> ranks that wrote it."""
    writers: dict[str, list[str]] = {}
    for line in (folder / "writers.txt").read_text().splitlines():
        rank, path = line.split(" ", 1)
        if Path(path).is_relative_to(folder / inside) and ".partial" not in path:
            writers.setdefault(str(Path(path).relative_to(folder / inside)), []).append(rank)
    return writers


def cases_of(bundle: Path, data: Path) -> list[dict[str, str]]:
    return LAYOUTS[json.loads((bundle / "configs/plan.json").read_text())["layout"]](data).cases


def state(folder: Path, epoch: int) -> dict:
    return torch.load(folder / f"models/model_epoch={epoch}.pt", weights_only=True)


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.fixture(scope="module")
def pair(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, str, str]]:
    """Number of processes -> folder, output and errors of the same training in one process and in two."""
    folders = {n: tmp_path_factory.mktemp(f"of_{n}") for n in (1, 2)}
    running = {
        n: start(n, "training", "train.json", "sample.json", dataset_dir=phantoms, **paths(folder), **COMPARABLE)
        for n, folder in folders.items()
    }
    return {n: (folders[n], *succeed(process)) for n, process in running.items()}


@pytest.mark.slow
def test_a_training_in_two_processes_reaches_the_dice_of_one(pair: dict) -> None:
    one, two = (state(pair[n][0], 3)["best_metric"] for n in (1, 2))
    assert one > 0.4
    assert two == pytest.approx(one, abs=0.02)


@pytest.mark.slow
def test_weights_trained_by_two_processes_have_the_names_of_one(pair: dict) -> None:
    one, two = (torch.load(pair[n][0] / "models/model.pt", weights_only=True) for n in (1, 2))
    assert one.keys() == two.keys()


@pytest.mark.slow
def test_only_the_first_process_writes_what_a_training_leaves(pair: dict) -> None:
    folder = pair[2][0]
    writers = written(folder, "models") | written(folder, "train")
    assert {rank for ranks in writers.values() for rank in ranks} == {"0"}
    left = sorted(path.name for name in ("models", "train") for path in (folder / name).iterdir())
    (events,) = [name for name in left if name.startswith("events.out.tfevents.")]
    others = ["learning_curve.png", "model.pt", "model_epoch=2.pt", "model_epoch=3.pt", "plan.json"]
    assert left == [events, *others]
    assert written(folder, "cache")["checked.json"] == ["0"]
    assert list(folder.rglob(".partial*")) == []


@pytest.mark.slow
def test_two_processes_speak_with_one_voice(pair: dict) -> None:
    _, out, err = pair[2]
    assert [out.count(f"epoch {k}/3:") for k in (1, 2, 3)] == [1, 1, 1]
    assert "destroy_process_group" not in err


@pytest.mark.slow_but_for("vox2vox")
def test_two_processes_evaluate_an_odd_cohort_as_one_does(
    bundle: Path, trained: Path, sample_data: Path, tmp_path: Path
) -> None:
    reports = {}
    for n in (1, 2):
        places = paths(trained) | {"output_dir": tmp_path / f"of_{n}"}
        settings = {"dataset_dir": sample_data, "device": "cpu", "num_workers": 0, "pictures": 1}
        settings["selected"] = "$@cases[:3]"
        configs = ("train.json", "sample.json", "evaluate.json")
        succeed(start(n, "run", *configs, bundle=bundle, **settings, **places))
        reports[n] = json.loads((tmp_path / f"of_{n}/metrics.json").read_text())
        assert len(list((tmp_path / f"of_{n}/pictures").iterdir())) == 1
    structures = len(reports[1]["summary"] or reports[1]["summary_trained_on"])
    names = [row["case"] for row in reports[2]["cases"]]
    assert len(names) == 3 * structures
    assert len(set(names)) == 3
    assert reports[2] == reports[1]


@pytest.mark.slow_but_for("vox2vox")
def test_a_failure_in_one_process_is_everyones_and_the_other_cases_are_predicted_once(
    bundle: Path, trained: Path, sample_data: Path, tmp_path: Path
) -> None:
    first, second, third = (files_of(case["image"]) for case in cases_of(bundle, sample_data)[:3])
    broken = [tmp_path / "broken" / Path(file).name for file in second]
    broken[0].parent.mkdir()
    for source, copy in zip(second, broken, strict=True):
        copy.write_bytes(Path(source).read_bytes())
    os.truncate(broken[0], 2000)
    out = tmp_path / "out"
    # An image of several files is given by the folder that holds them.
    given = [str(files[0] if len(files) == 1 else Path(files[0]).parent) for files in (first, broken, third)]
    settings = {"dataset_dir": given, "device": "cpu", "num_workers": 0, "pictures": 0}
    places = {"ckpt_dir": trained / "models", "output_dir": out}
    code, *_ = finish(start(2, "run", "inference.json", "sample.json", bundle=bundle, **settings, **places))
    assert code != 0
    (failure,) = json.loads((out / "failures.json").read_text())
    assert failure["path"] == str(broken[0])
    writers = written(tmp_path, "out")
    assert writers.pop("failures.json")[-1] == "0"  # what all know at the end; before, whoever had a failure
    for name in ("costs.csv", "costs.json"):
        assert writers.pop(name) == ["0"]
    assert set(writers.pop(".")) == {"0"}  # whether there is room at all
    assert sorted(writers) == sorted(path.name for path in out.glob("*_seg*"))
    assert [len(ranks) for ranks in writers.values()] == [1, 1]
    assert list(out.rglob(".partial*")) == []


@pytest.mark.parametrize(
    "end", ["terminated", *(pytest.param(end, marks=pytest.mark.slow) for end in ("interrupted", "one killed"))]
)
@pytest.mark.slow_but_for("vox2vox")
def test_the_failures_of_all_processes_are_on_the_disk_when_the_job_is_ended(
    end: str, bundle: Path, trained: Path, sample_data: Path, tmp_path: Path
) -> None:
    cases = [{"case": case["case"], "image": case["image"]} for case in cases_of(bundle, sample_data)[:4]]
    for case in cases[:2]:  # each process begins with one of them
        case["image"] = str(tmp_path / f"{case['case']}.nii.gz")
        Path(case["image"]).write_bytes(b"no image")
    (tmp_path / "list.json").write_text(json.dumps(cases))
    settings = {"device": "cpu", "num_workers": 0, "pictures": 0, "inferer": "$lambda *_: __import__('time').sleep(8)"}
    places = {"dataset_dir": tmp_path / "list.json", "ckpt_dir": trained / "models", "output_dir": tmp_path / "out"}
    process = start(2, "run", "inference.json", "sample.json", bundle=bundle, **settings, **places)
    file = tmp_path / "out/failures.json"
    while not file.exists() or len(json.loads(file.read_text())) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    if end == "one killed":
        workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(workers.split()[-1]), signal.SIGKILL)
    elif end == "terminated":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, *_ = finish(process, timeout=90)
    assert code != 0
    assert sorted(row["case"] for row in json.loads(file.read_text())) == sorted(case["case"] for case in cases[:2])


@pytest.mark.slow
def test_a_process_without_a_case_does_not_keep_the_others_waiting(phantoms: Path, tmp_path: Path) -> None:
    few = {"device": "cpu", "num_workers": 0, "fold": 1}  # one case validates
    training = {**TINY, **few, "epochs": 1, "val_interval": 1}
    out, _ = succeed(
        start(2, "training", "train.json", "sample.json", dataset_dir=phantoms, **paths(tmp_path), **training)
    )
    assert "val_mean_dice" in out

    places = {**paths(tmp_path), "output_dir": tmp_path / "evaluation"}
    succeed(start(2, "run", "train.json", "sample.json", "evaluate.json", dataset_dir=phantoms, **few, **places))
    assert len(json.loads((tmp_path / "evaluation/metrics.json").read_text())["cases"]) == 1

    one = cases_of(VNET, phantoms)[0]["image"]
    settings = {"dataset_dir": one, "device": "cpu", "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "masks"}
    succeed(start(2, "run", "inference.json", "sample.json", skip_existing=True, **settings))
    (mask,) = (tmp_path / "masks").glob("*_seg*")
    before = mask.stat().st_mtime_ns
    succeed(start(2, "run", "inference.json", "sample.json", skip_existing=True, **settings))
    assert mask.stat().st_mtime_ns == before


def test_bad_data_ends_all_processes_with_one_message(phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for case in cases_of(VNET, phantoms):
        for key in ("image", "label"):
            copy = data / Path(case[key]).relative_to(phantoms)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(case[key])
    broken = data / "phantom_003/lgemri.nrrd"
    broken.unlink()
    broken.write_bytes(b"no image")
    process = start(2, "training", "train.json", "sample.json", dataset_dir=data, **paths(tmp_path), **TINY)
    code, _, err = finish(process, timeout=120)
    assert code != 0
    assert err.count("1 of 6 cases cannot be used") == 1
    assert "[rank" not in err  # how torch marks a traceback
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["plan.json"]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_with_a_reason_and_the_resumed_run_ends_as_if_nothing_had_happened(
    phantoms: Path, tmp_path: Path
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    settings = {**TINY, "dataset_dir": phantoms, "epochs": 2, "val_interval": 1, "repeats": 4}
    training = (2, "training", "train.json", "sample.json")
    whole = start(*training, **settings, **paths(straight))
    process = start(*training, **settings, **paths(broken))
    while not (broken / "models/model_epoch=1.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(workers.split()[-1]), signal.SIGKILL)
    code, _, err = finish(process, timeout=60)
    assert code != 0
    assert "SIGKILL" in err
    assert not (broken / "models/model_epoch=2.pt").exists()

    succeed(whole)
    succeed(start(*training, **settings, **paths(broken), resume=True))
    assert equal(state(broken, 2), state(straight, 2))


@pytest.mark.parametrize("configs", [("train.json",), ("train.json", "evaluate.json"), ("inference.json",)])
def test_the_overlays_keep_every_property_that_consumers_ask_for(
    configs: tuple[str, ...], bundle: Path, trained: Path, sample_data: Path, tmp_path: Path, monkeypatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    overlay = "multi_gpu_evaluate.json" if "evaluate.json" in configs else OVERLAY[configs[0]]
    flow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in (*configs[:1], "sample.json", *configs[1:], overlay)],
        meta_file=str(bundle / "configs/metadata.json"),
        logging_file=None,
        workflow_type="infer" if configs[0] == "inference.json" else "train",
        bundle_root=str(bundle),
        dataset_dir=str(sample_data),
        device="cpu",
        **{name: str(path) for name, path in (paths(trained) | {"output_dir": tmp_path}).items()},
    )
    try:
        flow.initialize()
        assert idist.backend() == "gloo"
        assert flow.check_properties() == []
    finally:
        idist.finalize()
