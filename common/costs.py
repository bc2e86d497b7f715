"""What a case costs: the seconds of each part, and the highest memory meanwhile."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from weakref import WeakSet

import torch

__all__ = ["Costs", "PeakMemory", "listening", "timed"]

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")  # writing 5 resets the highest resident memory, see proc(5)

_costs: ContextVar[Costs | None] = ContextVar("costs", default=None)  # each thread has its own


class PeakMemory:
    """Highest memory since any number of moments, which may lie in different threads.

    On CUDA what torch has allocated on the device; on a CPU the resident memory of the process, Python and libraries
    included, without that of a loader's workers. Attribute ``kind`` says which, in words. Both have one high-water mark
    only: whoever resets it first tells everybody who still counts.

    Args:
        device: where the network runs.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._lock = threading.Lock()
        self._counting: WeakSet[Costs] = WeakSet()
        if self.device.type == "cuda":
            self.kind = "allocated by torch on the GPU"
        elif _reset_resident():
            self.kind = "resident memory of the process"
        else:
            self.kind = "resident memory of the process, the highest since its start (ru_maxrss)"

    def count(self, costs: Costs) -> None:
        """Begin to count for ``costs``, until it is dropped."""
        self.update()
        self._counting.add(costs)

    def update(self) -> None:
        """Bring the ``peak_mib`` of all who count up to now."""
        with self._lock:
            now = self._high_water_mark() / 2**20
            for costs in self._counting:
                costs.peak_mib = max(costs.peak_mib, now)

    def _high_water_mark(self) -> float:
        """Bytes since the last call, or since the process began where the mark cannot be reset."""
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return peak
        if "ru_maxrss" in self.kind:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else 1024 * peak
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        _reset_resident()
        return 1024 * float(line.split()[1])


class Costs:
    """Costs of one case, from here on.

    Args:
        memory: shared by all cases of a run.

    Attributes:
        seconds: part -> seconds of the wall clock.
        peak_mib: highest memory in MiB, up to the last ``memory.update()``.
    """

    def __init__(self, memory: PeakMemory) -> None:
        self.memory = memory
        self.seconds: dict[str, float] = {}
        self.peak_mib = 0.0
        memory.count(self)


@contextmanager
def listening(costs: Costs | None) -> Iterator[None]:
    """Let :func:`timed` write to ``costs`` in this thread; None: to nobody."""
    token = _costs.set(costs)
    try:
        yield
    finally:
        _costs.reset(token)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Measure the seconds of a named part of a case, if anyone listens; the GPU's work is waited for then.

    Example:
        >>> with timed("coarse"):
        ...     logits = network(volume)
    """
    costs = _costs.get()
    if costs is None:
        yield
        return
    _wait(costs.memory.device)
    start = time.perf_counter()
    try:
        yield
    finally:
        _wait(costs.memory.device)
        costs.seconds[name] = costs.seconds.get(name, 0.0) + time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def _reset_resident() -> bool:
    """Whether the system lets the process reset its highest resident memory, which it then did."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True
