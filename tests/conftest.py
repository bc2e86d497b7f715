"""What all tests share: few threads, fixed seeds, and the data and papers beside the checkout where they exist."""

from __future__ import annotations

import functools
import http.server
import multiprocessing.util
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from monai.utils import set_determinism

from common.files import NO_UTF_8, printable

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(2 if "PYTEST_XDIST_WORKER" not in os.environ else 1)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one bundle run in one process, one after the other, and so do those of a file: they share fixtures.

    A test that is marked ``slow_but_for("oss_net")`` is slow for every other bundle.
    """
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        bundle = Path(parameters["bundle"]).name if "bundle" in parameters else None
        item.add_marker(pytest.mark.xdist_group(bundle or item.path.stem))
        quick = item.get_closest_marker("slow_but_for")
        if quick is not None and bundle not in quick.args:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Names that are no UTF-8 are reported as what can be printed: pytest-xdist cannot send anything else."""
    report = yield
    report.sections = [(title, printable(text)) for title, text in report.sections]
    if report.longrepr is not None and NO_UTF_8.search(str(report.longrepr)):
        report.longrepr = printable(str(report.longrepr))
    return report


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What programs leave in the system's temporary folder, as torchrun does its logs, goes when the tests end.

    Not a folder of pytest's own: within it the addresses of sockets would get too long for some systems.
    """
    tmp_path_factory.getbasetemp()  # pytest's own, which is to stay where tests fail: made before
    multiprocessing.util.get_temp_dir()  # removed by multiprocessing when the process ends
    with (
        tempfile.TemporaryDirectory(prefix="t", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state, and leaves none behind."""
    set_determinism(0)
    yield
    set_determinism(None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets beside the checkout."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_papers() -> Path:
    """Folder of the papers' specifications beside the checkout."""
    return _shared("papers")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{name} beside the checkout")
    return folder


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """``serve(folder)``: the folder's address on this machine, until the tests end."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as servers:

        def start(folder: Path) -> str:
            handler = functools.partial(Quiet, directory=str(folder))
            server = servers.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            servers.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield start
