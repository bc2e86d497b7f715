"""Python commands in forks of a process that has already imported MONAI.

Each is a process of its own, with its own exit code and output, but starts without the seconds that the imports take.
What concerns Python's own start (the path, site-packages, signals, the launcher of several processes) needs a real one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

PRELOADED = ["common.checkpoints", "common.datasets", "common.engines", "common.handlers", "common.inferers"]
PRELOADED += ["common.losses", "common.metrics", "common.networks", "common.optimizers", "common.transforms"]
PRELOADED += ["matplotlib.figure", "monai.bundle", "monai.handlers", "tensorboard", "torch.utils.tensorboard"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([*PRELOADED, __name__])


def run(
    arguments: Sequence[object], *, cwd: Path, environment: dict[str, str] | None = None, timeout: float = 900
) -> subprocess.CompletedProcess:
    """What ``python *arguments`` does in that folder.

    Args:
        arguments: ``"-m", module, ...`` or ``script, ...``.
        cwd: the folder.
        environment: of the command; default that of the tests. Its ``OMP_NUM_THREADS`` are torch's threads, else 1.
        timeout: in seconds.

    Returns:
        The exit code (negative: the signal that ended it) and what was printed.

    Raises:
        subprocess.TimeoutExpired: the command is killed then.
    """
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        settings = (command, str(cwd), dict(environment or os.environ), str(out), str(err))
        process = _CONTEXT.Process(target=_become, args=settings)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        printed = [file.read_text() if file.exists() else "" for file in (out, err)]
        return subprocess.CompletedProcess(command, process.exitcode, *printed)


def _become(command: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    import torch

    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", 1)))
    try:
        if command[0] == "-m":
            sys.path.insert(0, cwd)
            sys.argv = command[1:]
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(command[0]).parent))
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
    finally:
        for thread in threading.enumerate():  # as Python does at its end
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
