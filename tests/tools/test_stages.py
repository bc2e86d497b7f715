"""The pipeline's commands: who gets which override, and what happens when a stage fails."""

import json
import os
import sys
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue

from tools.stages import Stage, as_text, commands, run_all

PATHS = {"dataset_dir": "/data/heart", "ckpt_dir": "/r/models", "output_dir": "/r", "cache_dir": "/r/cache"}
TRAIN = Stage("train", run_id="training", files=["train.json", "sample.json"], multi_gpu="multi_gpu_train.json")
PREDICT = Stage("predictions", run_id="run", files=["inference.json"], multi_gpu="multi_gpu_inference.json")


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    contents = {
        "train.json": {"dataset_dir": "", "output_dir": "", "cache_dir": "", "epochs": 9, "amp": True},
        "sample.json": {"epochs": 2},
        "inference.json": {"dataset_dir": "", "output_dir": "", "amp": True, "overlap": 0.5},
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_an_override_goes_to_every_stage_that_has_it(configs: Path) -> None:
    planned = commands(configs, [TRAIN, PREDICT], paths=PATHS, given={"amp": False})
    assert ["--amp=False" in command for command in planned.values()] == [True, True]


def test_an_override_skips_a_stage_that_lacks_it(configs: Path) -> None:
    planned = commands(configs, [TRAIN, PREDICT], paths=PATHS, given={"epochs": 1})
    assert ["--epochs=1" in command for command in planned.values()] == [True, False]


def test_an_override_that_no_config_has_is_an_error_naming_it(configs: Path) -> None:
    with pytest.raises(ValueError, match="--epoch: no such id in the configs of train, predictions"):
        commands(configs, [TRAIN, PREDICT], paths=PATHS, given={"epoch": 1})


def test_a_stage_is_not_given_a_path_that_its_config_lacks(configs: Path) -> None:
    planned = commands(configs, [PREDICT], paths=PATHS, given={})
    assert not any(argument.startswith("--cache_dir") for argument in planned["predictions"])


def test_each_stage_writes_to_its_own_folder(configs: Path) -> None:
    planned = commands(configs, [TRAIN, PREDICT], paths=PATHS, given={})
    assert "--output_dir=/r/train" in planned["train"]
    assert "--output_dir=/r/predictions" in planned["predictions"]


def test_overlays_are_merged_in_order(configs: Path) -> None:
    command = commands(configs, [TRAIN], paths=PATHS, given={})["train"]
    assert "--config_file=['configs/train.json', 'configs/sample.json']" in command


def test_several_gpus_without_the_overlay_is_an_error_naming_the_file(configs: Path) -> None:
    with pytest.raises(ValueError, match=r"multi_gpu_train\.json: no such file"):
        commands(configs, [TRAIN], paths=PATHS, given={}, gpus=2)


def test_several_gpus_run_under_torchrun_with_the_overlay_last(configs: Path) -> None:
    (configs / "multi_gpu_inference.json").write_text("{}")
    command = commands(configs, [PREDICT], paths=PATHS, given={}, gpus=2)["predictions"]
    assert command[1:5] == ["-m", "common.launch", "--standalone", "--nproc_per_node=2"]
    assert "--config_file=['configs/inference.json', 'configs/multi_gpu_inference.json']" in command


@pytest.mark.parametrize("value", [2, 1e-3, True, None, "auto", "2", "True", "[1, 2]", [1, 2], ["a", "b c"], {"a": 1}])
def test_a_value_survives_the_command_line(value: object) -> None:
    assert DefaultParseValue(as_text(value)) == value


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_first_failing_stage_gives_the_exit_code(tmp_path: Path) -> None:
    assert run_all({"first": python("raise SystemExit(7)")}, cwd=tmp_path).code == 7


def test_no_stage_runs_after_one_that_failed(tmp_path: Path) -> None:
    outcome = run_all({"first": python("raise SystemExit(7)"), "second": python("")}, cwd=tmp_path)
    assert list(outcome.seconds) == ["first"]


def test_a_killed_stage_gives_the_exit_code_of_a_shell(tmp_path: Path) -> None:
    assert run_all({"first": python("import os; os.kill(os.getpid(), 9)")}, cwd=tmp_path).code == 128 + 9


EPOCH = "import pathlib; pathlib.Path('model_epoch=1.pt').touch(); raise SystemExit(1)"


def test_a_training_that_failed_after_an_epoch_tells_how_to_resume(tmp_path: Path) -> None:
    outcome = run_all({"train": [*python(EPOCH), "training"]}, cwd=tmp_path, models=tmp_path)
    assert 'ARGS="--resume True" goes on from the last checkpoint' in outcome.message and "\n" not in outcome.message


def test_a_training_that_failed_before_its_first_epoch_tells_nothing_of_resuming(tmp_path: Path) -> None:
    """A typo on the command line, also with states of an earlier training there."""
    (tmp_path / "model_epoch=1.pt").touch()
    os.utime(tmp_path / "model_epoch=1.pt", (1, 1))
    outcome = run_all({"train": [*python("raise SystemExit(1)"), "training"]}, cwd=tmp_path, models=tmp_path)
    assert outcome.message == "train failed with exit code 1, its message is above"


def test_a_failed_evaluation_tells_nothing_of_resuming(tmp_path: Path) -> None:
    outcome = run_all({"evaluation": [*python(EPOCH), "run"]}, cwd=tmp_path, models=tmp_path)
    assert "resume" not in outcome.message


@pytest.mark.parametrize("end", ["import os; os.kill(os.getpid(), 9)", "raise SystemExit(137)"])
def test_a_stage_that_the_system_killed_names_its_knobs_that_save_memory(tmp_path: Path, end: str) -> None:
    (tmp_path / "train.json").write_text('{"command": {"memory_knobs": ["batch_size"]}}')
    (tmp_path / "evaluate.json").write_text('{"+command": {"memory_knobs": ["roi_size", "low_memory True"]}}')
    (tmp_path / "overlay.json").write_text("{}")
    command = [*python(end), "--config_file=['train.json', 'evaluate.json', 'overlay.json']"]
    outcome = run_all({"evaluation": command}, cwd=tmp_path)
    assert outcome.message.endswith("for want of memory: lower --roi_size, or set --low_memory True")
    outcome = run_all({"train": [*python(end), "--config_file=train.json"]}, cwd=tmp_path)
    assert outcome.message.endswith("for want of memory: lower --batch_size")


def test_a_stage_that_was_interrupted_and_said_so_needs_no_second_line(tmp_path: Path) -> None:
    assert run_all({"train": python("raise SystemExit(130)")}, cwd=tmp_path).message == ""


def test_a_stage_does_not_print_monais_remark_on_eval_and_prints_any_other_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    warned = ["parsing config_file x.json: any", "another thing", "of parsing config_file"]
    code = f"import warnings; [warnings.warn(text) for text in {warned}]"
    run_all({"train": python(code)}, cwd=tmp_path)
    said = capfd.readouterr().err
    assert [text for text in warned if f"UserWarning: {text}" in said] == warned[1:]
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:another thing")  # a person's own wish stays
    run_all({"train": python(code)}, cwd=tmp_path)
    said = capfd.readouterr().err
    assert [text for text in warned if f"UserWarning: {text}" in said] == warned[2:]
