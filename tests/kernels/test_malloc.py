"""Freed blocks that stay: what the kernel is asked for, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.kernels import reuse_freed_memory

MAPS = 100 * 2**20  # bytes, below the limit
LIBRARY, VERSION = platform.libc_ver()

PROGRAM = f"""
import resource, sys, torch
import common.engines  # the heap of a training, not of a bare interpreter
from common.kernels import reuse_freed_memory
assert sys.argv[1] != "keep" or reuse_freed_memory("cpu")
def layer():
    torch.full(({MAPS},), 1, dtype=torch.uint8)
layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    layer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str) -> int:
    command, root = [sys.executable, "-c", PROGRAM, what], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(
    LIBRARY != "glibc" or tuple(map(int, VERSION.split("."))) < (2, 36), reason="an older glibc has a lower limit"
)
@pytest.mark.slow
def test_the_next_layer_gets_what_the_last_one_freed() -> None:
    assert faults("keep") < faults("leave") / 2  # pages differ in size from machine to machine


def test_nothing_is_done_for_a_network_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("the C library was asked"))
    assert not reuse_freed_memory(torch.device("cuda", 0))


def test_nothing_is_done_where_the_c_library_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("the C library was asked"))
    assert not reuse_freed_memory("cpu")
