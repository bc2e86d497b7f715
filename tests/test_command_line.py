"""A command's mistakes: one line on stderr, and the exit code that goes with them."""

from __future__ import annotations

import sys
import zipfile

import pytest

from common.command_line import run_command


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
