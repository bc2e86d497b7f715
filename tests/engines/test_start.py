"""What a person sees of a command that failed; other programs see exceptions."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.command_line import describe_error
from common.engines import start_command
from tests import forks


def run(tmp_path: Path, expression: str, *arguments: str, **paths: object) -> subprocess.CompletedProcess:
    """``monai.bundle run`` of one expression with arguments, after the start that all configs have."""
    paths = {"output_dir": str(tmp_path / "out"), **paths}
    config = {
        "imports": ["$import torch", "$import logging", "$import operator", "$import os"],
        "command": {"_target_": "common.engines.start_command", **paths},
        "initialize": ["@command"],
        "epochs": 1,
        "run": ["@command", f"${expression}"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text("{}")
    command = ["-m", "monai.bundle", "run", *arguments, "--config_file", tmp_path / "config.json"]
    return forks.run(command, cwd=tmp_path)


def lines(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stderr.splitlines() if "parsing config_file" not in line]


def test_an_error_is_its_innermost_reason_in_one_line_and_the_traceback_goes_to_the_log(tmp_path: Path) -> None:
    done = run(tmp_path, "int('twelve')")
    assert done.returncode == 1
    log = tmp_path / "out/log.txt"
    assert lines(done) == [f"invalid literal for int() with base 10: 'twelve' (traceback: {log})"]
    assert "Traceback (most recent call last)" in log.read_text() and "ConfigExpression" in log.read_text()


def test_a_path_that_was_changed_on_its_way_ends_the_run_before_anything_is_written(tmp_path: Path) -> None:
    done = run(tmp_path, "int('twelve')", output_dir="$'run ' + chr(35) + '1'", ckpt_dir="weights ::1")
    (line,) = lines(done)
    assert done.returncode == 1 and line.startswith("ckpt_dir=weights ::1: the config parser turned # into ::")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "metadata.json"]


def test_a_librarys_message_of_several_lines_is_one(tmp_path: Path) -> None:
    (line,) = lines(run(tmp_path, "torch.nn.Linear(2, 2).load_state_dict({})"))
    assert line.startswith("Error(s) in loading state_dict for Linear: Missing key(s)")


def test_an_error_in_a_process_that_loads_data_is_its_reason_in_one_line(tmp_path: Path) -> None:
    loader = "torch.utils.data.DataLoader(['a'], num_workers=1, collate_fn=operator.itemgetter(1))"
    (line,) = lines(run(tmp_path, f"list({loader})"))
    assert line.startswith("IndexError: list index out of range (traceback: ")


def test_the_end_of_a_process_that_loads_data_is_one_line_that_names_the_knob(tmp_path: Path) -> None:
    (line,) = lines(run(tmp_path, "list(torch.utils.data.DataLoader(['a'], num_workers=1, worker_init_fn=os._exit))"))
    assert line.startswith("out of memory: a process that loads data was ended") and "lower --num_workers" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--epoch", "2"], "--epoch: no such id in {config}; did you mean --epochs?"),
        (["run", "--epoch=2"], "--epoch: no such id in {config}; did you mean --epochs?"),
        (["--nonsense", "-1"], "--nonsense: no such id in {config}"),
        (["--confg_file", "x"], "--confg_file: no such id in {config}; did you mean --config_file?"),
        (["run", "epochs", "2"], "epochs: belongs to no argument; write --name value, with dashes (--epochs 2)"),
    ],
)
def test_an_argument_that_monai_would_ignore_is_refused_before_anything_runs(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = run(tmp_path, "open('ran', 'w')", *arguments)
    (line,) = lines(done)
    assert done.returncode == 1 and line.partition(" (traceback")[0] == said.format(config=tmp_path / "config.json")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--epochs", "2"],
        ["--epochs=2"],
        ["--command#dataset_dir", "a"],
        ["--command::ckpt_dir", "a"],
        ["--run#0", "1"],
        ["run", "initialize"],
        ["--run_id", "run"],
        ["--_meta_#version", "2"],
    ],
)
def test_an_argument_that_the_config_or_monai_has_is_taken(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, "open('ran', 'w')", *arguments)
    assert done.returncode == 0 and (tmp_path / "ran").exists(), done.stderr


def test_a_log_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    done = run(tmp_path, "int('twelve')", output_dir="/proc/out")
    assert lines(done) == ["invalid literal for int() with base 10: 'twelve'"]


@pytest.mark.parametrize(
    ("knob", "value", "said"),
    [
        ("ckpt_dir", "file", "ckpt_dir=file: is a file, expected a folder"),
        ("cache_dir", "file", "cache_dir=file: is a file, expected a folder"),
        (
            "bundle_root",
            "nowhere",
            "bundle_root=nowhere: no such folder; expected that of the bundle, which holds configs/",
        ),
        ("ckpt_dir", ["a", "b"], "ckpt_dir=['a', 'b']: a list, expected the text of a path"),
    ],
)
def test_a_folder_that_is_none_is_named_before_anything_runs(
    tmp_path: Path, knob: str, value: object, said: str
) -> None:
    (tmp_path / "file").touch()
    (line,) = lines(run(tmp_path, "open('ran', 'w')", **{knob: value}))
    assert line.partition(" (traceback")[0] == said
    assert not (tmp_path / "ran").exists()


def test_several_paths_are_taken_where_the_config_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "open('ran', 'w')", several=["ckpt_dir"], ckpt_dir=["a", "b"])
    assert done.returncode == 0 and (tmp_path / "ran").exists()


def test_too_little_memory_is_one_line_that_names_the_knobs(tmp_path: Path) -> None:
    done = run(tmp_path, "torch.empty(2**55)", memory_knobs=["batch_size", "patch", "num_workers"])
    (line,) = lines(done)
    assert line.startswith("out of memory: lower --batch_size, --patch or --num_workers (traceback: ")


def test_the_kind_of_an_error_is_said_where_its_text_alone_says_little() -> None:
    assert describe_error(KeyError("spacing")) == "KeyError: 'spacing'"
    assert describe_error(OSError(28, "No space left on device", "a.nii.gz")) == "a.nii.gz: No space left on device"


def test_ctrl_c_is_one_line_and_exit_code_130_for_a_shell(tmp_path: Path) -> None:
    config = {
        "imports": ["$import time", "$import pathlib"],
        "command": {"_target_": "common.engines.start_command", "output_dir": str(tmp_path / "out")},
        "initialize": ["@command"],
        "run": ["$pathlib.Path('started').touch()", "$time.sleep(60)"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text("{}")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "config.json"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT  # which a shell gives as 130
    assert [line for line in err.splitlines() if "parsing config_file" not in line and "`eval()`" not in line] == [
        "Interrupted."
    ]


def test_ignites_lines_at_a_start_and_before_an_error_are_not_shown_and_any_other_is(tmp_path: Path) -> None:
    said = [
        "Engine run resuming from iteration 0, epoch 0 until 1 epochs",
        "Current run is terminating due to exception: no",
        "Engine run resuming from iteration 0, epoch 3 until 4 epochs",
        "Engine run resuming from iteration 5, epoch 1 until 2 epochs",
    ]
    log = "logging.getLogger('ignite.engine.engine.SupervisedTrainer').warning"
    (tmp_path / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=console\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\n"
        "handlers=console\n[handler_console]\nclass=StreamHandler\nargs=(sys.stdout,)\n"
    )
    done = run(tmp_path, f"[{log}(text) for text in {said}] + [logging.warning('{said[0]}')]")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in said] == [said[3], said[0]]


def test_a_line_that_cannot_be_printed_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=full\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\n"
        "handlers=full\n[handler_full]\nclass=FileHandler\nargs=('/dev/full',)\n"
    )
    done = run(tmp_path, "logging.warning('anything')")
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr


def test_another_program_keeps_its_own_way_with_errors(tmp_path: Path) -> None:
    hook, filters = sys.excepthook, [list(handler.filters) for handler in logging.getLogger().handlers]
    start_command(tmp_path)
    assert sys.excepthook is hook
    assert [list(handler.filters) for handler in logging.getLogger().handlers] == filters
