"""A command's mistakes: one line on stderr, and the exit code that goes with them."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from common.command_line import describe_error, is_out_of_memory, memory_advice, run_command, save_memory_with


def ended(monkeypatch: pytest.MonkeyPatch, function, *arguments: str) -> object:
    """The exit code, or the text that Python prints before it exits with 1."""
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    with pytest.raises(SystemExit) as end:
        run_command(function, name="tool")
    return end.value.code


def copy(source: str, *, times: int = 1) -> None:
    raise FileNotFoundError(f"{source}: no such file\n  look elsewhere")


def test_an_argument_without_dashes_is_refused_and_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, copy, "--source", "a", "times", "2") == 2
    assert capsys.readouterr().err == (
        'times: belongs to no argument; write --name value, with dashes (ARGS="--epochs 2")\n'
    )


def test_an_unknown_argument_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, copy, "--source", "a", "--time", "2") == 2
    assert capsys.readouterr().err == "--time: no such argument; `python -m tool --help` lists them\n"


def test_a_missing_argument_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, copy) == 2
    assert capsys.readouterr().err == "tool: The function received no value for the required argument: source\n"


def test_help_is_still_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, copy, "--help") == 0
    assert "times" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--source", "2024_05_01", "--help"], ["-h"], ["--", "--help"], ["--", "--trace", "-h"]]
)
def test_help_is_what_who_asks_for_it_gets_and_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert ended(monkeypatch, copy, *arguments) == 0
    assert "times" in capsys.readouterr().err


@pytest.mark.parametrize("stray", ["-", "--"])
def test_a_lone_dash_and_what_fire_would_take_for_its_own_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stray: str
) -> None:
    assert ended(monkeypatch, copy, "--source", "a", stray, "--trace") == 2
    assert capsys.readouterr().err == f"{stray}: belongs to no argument; write --name value\n"


@pytest.mark.parametrize("again", [["--source", "b"], ["--source=b"], ["-source", "b"]])
def test_an_argument_that_is_given_twice_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], again: list[str]
) -> None:
    assert ended(monkeypatch, copy, "--source", "a", *again) == 2
    assert capsys.readouterr().err.startswith("--source: given twice")


def received(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, object]:
    """What a function with arguments of several types gets."""
    got: dict[str, object] = {}

    def take(
        folder: str,
        cases: int = 1,
        check: bool = False,
        most: int | None = None,
        *,
        names: Sequence[str] = (),
        where: Path | None = None,
        **more: object,
    ) -> None:
        got.update(folder=folder, cases=cases, check=check, most=most, names=names, **more)
        got.update({} if where is None else {"where": where})

    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    run_command(take, name="tool")
    return got


@pytest.mark.parametrize(
    "name", ["2024_05_01", "1e5", "1.10", "None", "True", "[a]", "Smith,John", "a#b", "'q'", "{a: 1}"]
)
def test_a_text_arrives_as_it_was_typed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    got = received(monkeypatch, f"--folder={name}", f"--another={name}")
    assert (got["folder"], got["another"]) == (name, name)
    assert received(monkeypatch, name)["folder"] == name


@pytest.mark.parametrize("name", ["2024_05_01", "1e5", "None", "Smith,John", "a/../b", "a~"])
def test_a_path_arrives_as_it_was_typed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert received(monkeypatch, "x", f"--where={name}")["where"] == Path(name)


def test_the_home_folder_is_meant_by_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert received(monkeypatch, "~/x", "--where=~/x") == {
        "folder": "~/x", "cases": 1, "check": False, "most": None, "names": (), "where": Path("/home/me/x")
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", " ", "a\nb"])
def test_what_is_no_path_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as end:
        received(monkeypatch, "x", f"--where={name}")
    assert end.value.code == 2
    assert capsys.readouterr().err == f"--where={name!r}: no path; name a file or a folder\n"


def test_numbers_booleans_and_lists_arrive_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    got = received(monkeypatch, "x", "--cases", "3", "--check", "--most", "None", "--names", "a,b")
    assert got == {"folder": "x", "cases": 3, "check": True, "most": None, "names": ("a", "b")}
    assert received(monkeypatch, "x", "--nocheck")["check"] is False


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--check", "false"], "--check must be True or False (capitalized), got 'false'"),
        (["--check", "1"], "--check must be True or False (capitalized), got '1'"),
        (["--cases", "two"], "--cases must be a whole number, got 'two'"),
        (["--cases=2.5"], "--cases must be a whole number, got '2.5'"),
        (["--cases"], "--cases must be a whole number, got 'True'"),
        (["--cases", "None"], "--cases must be a whole number, got 'None'"),
        (["--most", "x"], "--most must be a whole number, got 'x'"),
    ],
)
def test_a_value_of_another_type_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    with pytest.raises(SystemExit) as end:
        received(monkeypatch, "x", *arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_a_message_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, copy, "--source", "a  b") == "a  b: no such file look elsewhere"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/data"), "/data: Permission denied"),
        (zipfile.BadZipFile("Bad CRC-32"), "BadZipFile: Bad CRC-32"),
        (KeyError("network"), "KeyError: 'network'"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_that_is_no_sentence_says_what_it_is_about(
    monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail() -> None:
        raise error

    assert ended(monkeypatch, fail) == line


def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert ended(monkeypatch, interrupted) == 130
    assert capsys.readouterr().err == "Interrupted\n"


@pytest.fixture
def knobs():
    save_memory_with(["roi_size", "num_workers", "low_memory True"])
    yield
    save_memory_with([])


def too_much() -> None:
    np.empty(2**55)


@pytest.mark.parametrize(
    "fail",
    [
        too_much,
        lambda: torch.empty(2**55),  # torch's own words on this machine
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["function", "torch", "CUDA", "allocator", "CUDA error", "cuDNN", "bad_alloc", "OSError"],
)
def test_too_little_memory_of_any_kind_names_the_knobs_of_the_run(fail, knobs) -> None:
    if callable(fail):
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            fail()
        fail = raised.value
    assert is_out_of_memory(fail)
    assert describe_error(fail) == "out of memory: lower --roi_size or --num_workers, or set --low_memory True"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "--num_workers (0 loads without"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "--num_workers (0 loads without"),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is",
            "--num_workers (0 needs none)",
        ),
        ("unable to write to file </torch_7_3_0>: No space left on device (28)", "--num_workers (0 needs none)"),
        ("unable to open shared memory object </torch_7_3> in read-write mode", "--num_workers (0 needs none)"),
    ],
)
def test_what_ends_a_process_that_loads_data_names_the_number_of_them(said: str, advice: str) -> None:
    text = describe_error(RuntimeError(said))
    assert f"lower {advice}" in text and "\n" not in text
    assert ("shared memory" in text) == ("needs none" in advice)


@pytest.mark.parametrize("error", [ValueError("the bus error"), RuntimeError("shape mismatch"), KeyError("a")])
def test_another_error_is_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error) and "memory" not in describe_error(error)


def test_without_a_config_the_advice_is_general() -> None:
    assert memory_advice([]) == "lower what decides how much is computed at once"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ValueError: a.nii.gz: no image", "a.nii.gz: no image"),
        ("common.datasets.errors.DataError: a.nii.gz: no image", "a.nii.gz: no image"),
        ("KeyError: 'image'", "KeyError: 'image'"),
        (
            "ValueError: a.nii.gz: no image\n\nThe above exception was the direct cause of the following exception:\n\n"
            "Traceback (most recent call last):\n  File ...\nRuntimeError: applying transform <...>",
            "a.nii.gz: no image",
        ),
    ],
)
def test_the_reason_in_a_loading_process_is_told_without_its_traceback(raised: str, said: str) -> None:
    trace = f'Traceback (most recent call last):\n  File "worker.py", line 3, in _loop\n    data = fetch()\n{raised}\n'
    error = RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\nOriginal {trace}")
    assert describe_error(error) == said


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("$1/0", "ZeroDivisionError: division by zero (in the config's '$1/0')"),
        (
            {"_target_": "fractions.Fraction", "numerator": "x", "denominator": [1]},
            "TypeError: both arguments should be Rational instances (in fractions.Fraction)",
        ),
    ],
)
def test_an_error_that_says_little_says_where_in_the_config_it_was_raised(item: object, said: str) -> None:
    with pytest.raises(RuntimeError) as error:
        ConfigParser({"item": item}).get_parsed_content("item")
    assert describe_error(error.value) == said
