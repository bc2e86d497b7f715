"""Files are whole or not there at all, whatever interrupts their writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.files import as_expression, entry_fault, printable, read_json, remove_leftovers, usable_path, whole_file

HALF = """
import sys, time
from common.files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def killed_while_writing(file: Path) -> None:
    """Let a process write half of ``file`` and end it with SIGKILL."""
    command = [sys.executable, "-c", HALF, str(file)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)


def test_the_file_and_its_folder_are_there_at_the_end(tmp_path: Path) -> None:
    with whole_file(tmp_path / "new" / "plan.json") as file:
        file.write_text("all of it")
        assert not (tmp_path / "new" / "plan.json").exists()
    assert contents(tmp_path / "new") == {"plan.json": "all of it"}


def test_an_error_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("old")
    with pytest.raises(OSError, match="full"), whole_file(tmp_path / "plan.json") as file:
        file.write_text("half")
        raise OSError("disk full")
    assert contents(tmp_path) == {"plan.json": "old"}


def test_a_killed_process_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("old")
    killed_while_writing(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text() == "old"


def test_what_a_killed_process_left_can_be_removed_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "model_epoch=1.pt").write_text("old")
    killed_while_writing(tmp_path / "model_epoch=2.pt")
    killed_while_writing(tmp_path / "other.pt")
    assert len(contents(tmp_path)) == 3
    remove_leftovers(tmp_path, "model_epoch=*.pt")
    left = sorted(contents(tmp_path))
    assert left[1] == "model_epoch=1.pt"
    assert left[0].endswith("_other.pt")


def test_the_temporary_name_keeps_the_suffix_by_which_writers_choose_a_format(tmp_path: Path) -> None:
    with whole_file(tmp_path / "p1_seg.nii.gz") as file:
        file.touch()
        assert file.name.endswith(".nii.gz")


def test_threads_that_write_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    def write(text: str) -> None:
        with whole_file(tmp_path / "item.pt") as file:
            file.write_text(text)

    texts = [letter * 1000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, texts))
    assert list(contents(tmp_path)) == ["item.pt"]
    assert contents(tmp_path)["item.pt"] in texts


@pytest.mark.parametrize(
    "text", ["/data/Fall #12", "@x", "100%", "$HOME", "it's", 'a"b', "a\\b", "\udcff", "心臓", "🫀"]
)
def test_an_expressions_value_is_the_text_and_no_character_of_it_means_anything_to_a_config(text: str) -> None:
    expression = as_expression(text)
    assert eval(expression[1:]) == text
    assert not set("#@%$'") & set(expression[1:])


@pytest.mark.parametrize("path", ["/data/scans", "a b", "Größe", "C++", "x~", "~x", ".", Path("/data")])
def test_a_plain_path_is_usable(path: str | Path) -> None:
    usable_path(path, "output_dir")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (20240501, "a int, expected the text of a path"),
        (1.1, "a float, expected"),
        (True, "a bool, expected"),
        (("Smith", "John"), "a tuple, expected"),
        (None, "a NoneType, expected"),
        ({"b": 1}, "a dict, expected"),
        ("", "no path"),
        ("a\nb", "has a line break"),
        ("a\0b", "has a line break or another control character"),
        ("M\udcfcller", "is no UTF-8"),
        ("~/runs", r'type --output_dir "\$HOME/runs"'),
        ("/data/Fall ::12/x", r"""turned # into ::, type --output_dir '\$"/data/Fall \\x2312/x"'"""),
    ],
)
def test_a_path_that_became_something_else_is_refused_with_what_to_type(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        usable_path(value, "output_dir")


def test_colons_that_a_folder_has_in_its_own_name_are_usable(tmp_path: Path) -> None:
    (tmp_path / "a::b").mkdir()
    usable_path(tmp_path / "a::b" / "predictions", "output_dir")


def test_several_paths_are_usable_where_a_knob_takes_them() -> None:
    usable_path(["/a", "/b", {"case": "c", "image": "/c"}], "dataset_dir", several=True)
    with pytest.raises(ValueError, match="a list, expected the text of a path"):
        usable_path(["/a", "/b"], "output_dir")


@pytest.mark.parametrize(
    ("typed", "value", "instead"),
    [
        (["--output_dir", "run #1"], "run", r"""--output_dir '$"run \x231"'"""),
        (["--output_dir=2024_05_01"], 20240501, """--output_dir '$"2024_05_01"'"""),
        (["--output-dir", "None"], "the config's own", """--output_dir '$"None"'"""),
        (["-output_dir", "Smith,John"], ("Smith", "John"), """--output_dir '$"Smith,John"'"""),
    ],
)
def test_what_the_command_line_changed_is_told_from_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], value: object, instead: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run", "run", *typed])
    with pytest.raises(ValueError) as error:
        usable_path(value, "output_dir")
    assert str(error.value).endswith(f"type {instead}") and repr(value) in str(error.value)


def test_another_programs_arguments_say_nothing_of_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/host.py", "--output_dir", "elsewhere"])
    usable_path("/data", "output_dir")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "damaged or no JSON"),
        ("[" * 100_000, "damaged"),
        (" <html>", "a web page"),
        ("{", "damaged"),
        ("[1]", "a list, expected"),
        ("1", "a int"),
    ],
)
def test_a_json_file_that_is_damaged_is_named(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ValueError, match=rf"plan\.json: .*{reason}"):
        read_json(tmp_path / "plan.json")


def test_a_json_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "plan.json") == {"a": 1}


def test_a_name_that_is_no_utf_8_is_written_whole(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.json")
    with whole_file(path) as file:
        str(file).encode()  # some libraries write to no other name
        file.write_text("x")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.json"]


def test_what_is_printable_stays_and_other_bytes_are_shown_as_numbers():
    assert printable("Zoë #12") == "Zoë #12"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\udce9"


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: path.touch(), ""),
        (lambda path: path.mkdir(), ""),
        (lambda path: None, "no such file or folder"),
        (lambda path: path.symlink_to("nowhere"), "a link that leads nowhere"),
        (lambda path: path.symlink_to(path), "a link that leads to itself"),
        (os.mkfifo, "a pipe, a socket or a device"),
    ],
)
def test_what_an_entry_is_instead_of_a_file_is_said_without_opening_it(tmp_path, make, fault):
    make(tmp_path / "x")
    assert entry_fault(tmp_path / "x") == fault


@pytest.mark.parametrize("name", ["a\0b", "a" * 300])
def test_a_name_that_no_file_can_have_is_a_fault_of_the_entry(tmp_path, name):
    assert entry_fault(tmp_path / name).startswith("cannot be read: ")


@pytest.mark.parametrize("name", ["x" * 251, "\u00e4" * 125], ids=["letters", "umlauts"])
def test_a_name_of_any_length_that_the_file_system_takes_is_written(tmp_path, name):
    with whole_file(tmp_path / f"{name}.pt") as file:
        assert file.suffix == ".pt"
        file.touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.pt"]
