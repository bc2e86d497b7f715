"""Files are whole or not there at all, whatever interrupts their writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.files import remove_leftovers, whole_file

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
    with whole_file(tmp_path / "new" / "fit.json") as file:
        file.write_text("all of it")
        assert not (tmp_path / "new" / "fit.json").exists()
    assert contents(tmp_path / "new") == {"fit.json": "all of it"}


def test_an_error_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text("old")
    with pytest.raises(OSError, match="full"), whole_file(tmp_path / "fit.json") as file:
        file.write_text("half")
        raise OSError("disk full")
    assert contents(tmp_path) == {"fit.json": "old"}


def test_a_killed_process_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text("old")
    killed_while_writing(tmp_path / "fit.json")
    assert (tmp_path / "fit.json").read_text() == "old"


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
