"""What the pipeline refuses before it starts anything."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tools import pipeline
from tools.stages import Outcome
from tools.variables import data_paths, processes


def test_an_unknown_bundle_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"BUNDLE=unet: no such bundle; there are: .*vnet_left_atrium"):
        pipeline.train("unet", str(tmp_path))


@pytest.mark.parametrize("name", ["vnet_left_atrium/", "../bundles/vnet_left_atrium", "./vnet_left_atrium", "", "."])
def test_the_path_of_a_bundle_is_not_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match="no such bundle; there are: "):
        pipeline.train(name, str(tmp_path))
    command = ["make", "-s", "-o", ".venv/.ready", "sample-data", f"BUNDLE={name}"]
    done = subprocess.run(command, cwd=pipeline.BUNDLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"BUNDLE={name}: no such bundle; there are: ")


def test_another_folder_for_all_stages_is_refused_because_they_would_overwrite_each_other(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--output_dir: .* name this one with RUN="):
        pipeline.train("vnet_left_atrium", str(tmp_path), run=str(tmp_path / "run"), output_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_dataset_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"DATASET_DIR=.*nowhere: no such file or folder"):
        pipeline.train("vnet_left_atrium", str(tmp_path / "nowhere"), run=str(tmp_path))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"model\.pt: no such weights"):
        pipeline.infer("vnet_left_atrium", str(tmp_path), weights=str(tmp_path))


def test_a_training_that_has_not_validated_yet_is_to_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/model_epoch=1.pt").touch()
    with pytest.raises(SystemExit, match=r'has not validated yet: go on with `make train .* ARGS="--resume True"`'):
        pipeline.infer("vnet_left_atrium", str(tmp_path), run=str(tmp_path))


def test_an_override_without_meaning_stops_before_training(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--epoch: no such id"):
        pipeline.train("vnet_left_atrium", str(tmp_path), run=str(tmp_path / "run"), epoch=1)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[str]]]:
    """Gives the commands of a `train` in tmp_path, which holds an empty folder `data`: nothing is run."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    planned: dict[str, list[str]] = {}

    def record(commands: dict[str, list[str]], **_: object) -> Outcome:
        planned.update(commands)
        return Outcome({})

    def plan(**options: object) -> dict[str, list[str]]:
        with pytest.raises(SystemExit) as ended:
            pipeline.train("vnet_left_atrium", "data", run="out", **options)
        assert ended.value.code == 0
        return planned

    monkeypatch.setattr(pipeline, "run_all", record)
    return plan


@pytest.fixture
def planned(plan: Callable[..., dict[str, list[str]]]) -> dict[str, list[str]]:
    return plan()


def test_the_data_is_looked_for_where_the_person_stands(planned: dict[str, list[str]], tmp_path: Path) -> None:
    assert f"--dataset_dir={tmp_path / 'data'}" in planned["train"]


def test_predictions_use_the_weights_that_training_writes(planned: dict[str, list[str]], tmp_path: Path) -> None:
    written = f"--ckpt_dir={tmp_path / 'out' / 'models'}"
    assert written in planned["train"] and written in planned["predictions"]


def test_the_locator_is_trained_before_the_segmenter(planned: dict[str, list[str]]) -> None:
    assert list(planned) == ["train_locator", "train", "evaluation", "predictions"]


@pytest.mark.parametrize(
    ("stage", "files"),
    [
        ("train_locator", "['configs/train_locator.json', 'configs/paper_locator.json']"),
        ("train", "['configs/train.json', 'configs/paper.json', 'configs/experiments/2_vnet_dice.json']"),
        (
            "evaluation",
            "['configs/train.json', 'configs/paper.json', 'configs/experiments/2_vnet_dice.json', "
            "'configs/evaluate.json']",
        ),
        ("predictions", "configs/inference.json"),
    ],
)
def test_overlays_reach_every_stage_in_their_order(
    plan: Callable[..., dict[str, list[str]]], stage: str, files: str
) -> None:
    assert f"--config_file={files}" in plan(merge="paper.json experiments/2_vnet_dice.json")[stage]


def test_predictions_use_the_network_of_the_overlays(plan: Callable[..., dict[str, list[str]]]) -> None:
    assert "--network_def#norm=$None" in plan(merge="paper.json")["predictions"]


def test_the_short_schedule_of_the_sample_data_wins_over_overlays(plan: Callable[..., dict[str, list[str]]]) -> None:
    merged = "--config_file=['configs/train.json', 'configs/paper.json', 'configs/sample.json']"
    assert merged in plan(merge="paper.json", sample=True)["train"]


def test_an_unknown_overlay_is_named(plan: Callable[..., dict[str, list[str]]]) -> None:
    with pytest.raises(SystemExit, match=r"OVERLAYS=papr\.json: no such file"):
        pipeline.train("vnet_left_atrium", "data", merge="papr.json")


@pytest.mark.parametrize(
    ("given", "weights", "folder"),
    [
        ({}, "bundles/vnet_left_atrium/models", "runs/vnet_left_atrium/data_shipped_weights"),
        ({"weights": "mine"}, "mine", "runs/vnet_left_atrium/data_weights_of_mine"),
        ({"run": "out", "weights": "mine"}, "mine", "out"),
        ({"run": "out"}, "bundles/vnet_left_atrium/models", "out"),
        ({"run": "own"}, "own/models", "own"),
        ({"run": "own", "weights": "shipped"}, "bundles/vnet_left_atrium/models", "own"),
        ({"weights": "own"}, "own/models", "own"),
    ],
)
def test_results_lie_in_the_run_or_are_named_after_the_data_and_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], weights: str, folder: str
) -> None:
    for name in ("data", "mine", "own/models", "bundles/vnet_left_atrium/models", "bundles/vnet_left_atrium/configs"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("mine/model.pt", "own/models/model.pt", "bundles/vnet_left_atrium/models/model.pt"):
        (tmp_path / name).touch()
    (tmp_path / "own/.dataset_dir").write_text(str(tmp_path / "data"))
    for name in ("train.json", "inference.json"):
        (tmp_path / "bundles/vnet_left_atrium/configs" / name).write_text('{"ckpt_dir": ""}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "BUNDLES", tmp_path / "bundles")
    written: list[str] = []

    def record(commands: dict[str, list[str]], **_: object) -> Outcome:
        written.extend(commands["predictions"])
        return Outcome({})

    monkeypatch.setattr(pipeline, "run_all", record)
    with pytest.raises(SystemExit):
        pipeline.infer("vnet_left_atrium", "data", **given)
    assert f"--output_dir={tmp_path / folder / 'predictions'}" in written
    assert f"--ckpt_dir={tmp_path / weights}" in written


def initialized(planned: dict[str, list[str]]) -> dict[str, str]:
    """Stage -> the weights that it is to start from, as it is told."""
    return {
        stage: argument.partition("=")[2]
        for stage, command in planned.items()
        for argument in command
        if argument.startswith("--init=")
    }


def test_every_stage_starts_from_a_folder_of_weights_and_nothing_but_a_training(
    plan: Callable[..., dict[str, list[str]]], tmp_path: Path
) -> None:
    (tmp_path / "earlier/models").mkdir(parents=True)
    (tmp_path / "earlier/models/model.pt").touch()
    folder = str(tmp_path / "earlier")
    assert initialized(plan(init="earlier")) == {"train_locator": folder, "train": folder}


def test_a_file_of_weights_is_the_last_stages(plan: Callable[..., dict[str, list[str]]], tmp_path: Path) -> None:
    (tmp_path / "mine.pt").touch()
    assert initialized(plan(init="mine.pt")) == {"train": str(tmp_path / "mine.pt")}


def test_the_shipped_weights_are_those_of_the_bundle(plan: Callable[..., dict[str, list[str]]]) -> None:
    assert initialized(plan(init="shipped"))["train"] == str(pipeline.BUNDLES / "vnet_left_atrium/models")


@pytest.mark.parametrize("gpus", ["0", "-1", "two", "1.5", "", "True"])
def test_a_number_of_gpus_that_is_none_is_refused(tmp_path: Path, gpus: str) -> None:
    with pytest.raises(SystemExit, match=f"GPUS={gpus}: the number of processes, one per GPU, expected 1 or more"):
        pipeline.train("vnet_left_atrium", str(tmp_path), run=str(tmp_path / "run"), gpus=gpus)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("present", "device", "fits"), [(2, "", False), (2, "cpu", True), (4, "", True), (0, "", True)]
)
def test_more_processes_than_this_machine_has_gpus_are_refused(
    monkeypatch: pytest.MonkeyPatch, present: int, device: str, fits: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    given = {"device": device} if device else {}
    if fits:
        assert processes("4", given) == 4
    else:
        with pytest.raises(SystemExit, match=f"GPUS=4: this machine has {present} CUDA GPUs"):
            processes("4", given)


def test_a_wrong_id_is_answered_with_the_one_it_is_like(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--learning_rat: no such id .*; did you mean --learning_rate\?"):
        pipeline.train("vnet_left_atrium", str(tmp_path), run=str(tmp_path / "run"), learning_rat=1)


def test_an_override_arrives_as_it_was_typed_and_a_path_among_them_as_a_path(
    plan: Callable[..., dict[str, list[str]]],
) -> None:
    planned = plan(epochs="2", cache_dir="/x/Fall #1", seed="'3'")["train"]
    assert {"--epochs=2", "--seed='3'", '--cache_dir=$"/x/Fall \\x231"'} < set(planned)


@pytest.mark.parametrize("name", ["20180217_064501", "1e5", "Smith,John", "[a]", "None", "~x", "Fall #12"])
def test_a_folder_named_like_something_else_is_the_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert data_paths(str(tmp_path / name)) == [tmp_path / name]


def test_a_list_of_data_is_written_as_one(tmp_path: Path) -> None:
    for name in ("a", "b, c"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / "a", tmp_path / "b, c"]
    assert data_paths(str([str(path) for path in paths])) == paths
    with pytest.raises(SystemExit, match="no such file or folder, and no list such as"):
        data_paths("['a', b]")


def test_the_home_folder_of_the_data_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_paths("~") == [tmp_path]


def test_a_failed_stage_adds_one_line_and_no_table_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Outcome({"train": 1.0}, code=1, message="train failed with exit code 1, its message is above")
    monkeypatch.setattr(pipeline, "run_all", lambda planned, **_: failed)
    with pytest.raises(SystemExit) as end:
        pipeline.train("vnet_left_atrium", str(tmp_path), run=str(tmp_path / "run"))
    assert end.value.code == 1
    assert capsys.readouterr() == ("", "train failed with exit code 1, its message is above\n")
