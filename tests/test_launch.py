"""Several processes by torchrun: where one fails, its message stands alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PROGRAM = """
import os, signal, sys, time
rank = int(os.environ["RANK"])
waits = sys.argv[1] == "wait" or (sys.argv[1] != "work" and rank == 0)
if waits:
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
print("started", flush=True)
if sys.argv[1] == "fail" and rank == 1:
    sys.exit("what is wrong")
if sys.argv[1] == "killed" and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if waits:
    time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path):
    """``start("work")``: two processes of PROGRAM, as a group."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def begin(what: str) -> subprocess.Popen:
        launcher = ["-m", "common.launch", "--standalone", "--nproc_per_node=2"]
        command = [sys.executable, *launcher, str(tmp_path / "program.py"), what]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True, **pipes)

    return begin


@pytest.mark.parametrize(
    ("what", "code", "said"), [("work", 0, ""), ("fail", 1, "what is wrong\n"), ("killed", 128 + 9, "")]
)
def test_the_first_failure_gives_the_exit_code_and_no_trace_follows(start, what: str, code: int, said: str) -> None:
    with start(what) as launcher:
        _, printed = launcher.communicate()
    assert (launcher.returncode, printed) == (code, said)


def test_ctrl_c_ends_all_processes_with_exit_code_130_and_no_trace(start) -> None:
    with start("wait") as launcher:
        begun = ""
        while begun.count("started") < 2:  # two processes print, perhaps into one line
            begun += launcher.stdout.readline()
        os.killpg(launcher.pid, signal.SIGINT)
        _, printed = launcher.communicate()
    assert (launcher.returncode, printed) == (130, "")


def test_the_processes_do_not_print_monais_remark_on_eval_and_print_any_other_warning(tmp_path: Path) -> None:
    warned = ["parsing config_file x.json: any", "another thing"]
    (tmp_path / "warn.py").write_text(f"import warnings\nfor text in {warned}:\n    warnings.warn(text)\n")
    launcher = ["-m", "common.launch", "--standalone", "--nproc_per_node=1", str(tmp_path / "warn.py")]
    done = subprocess.run([sys.executable, *launcher], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert [text for text in warned if f"UserWarning: {text}" in done.stderr] == warned[1:]
