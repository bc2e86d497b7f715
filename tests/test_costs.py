"""Seconds of stages and highest memory: who listens, hears; who does not, pays nothing."""

from __future__ import annotations

import mmap
import threading
import time

import pytest

from common import costs as module
from common.costs import Costs, PeakMemory, listening, timed

MIB = 2**20


@pytest.fixture
def memory() -> PeakMemory:
    return PeakMemory("cpu")


def test_seconds_of_a_stage_that_comes_twice_add_up(memory):
    costs = Costs(memory)
    with listening(costs):
        for _ in range(2):
            with timed("fine"):
                time.sleep(0.05)
    assert list(costs.seconds) == ["fine"]
    assert 0.1 <= costs.seconds["fine"] < 5


def test_a_stage_inside_another_is_part_of_it(memory):
    costs = Costs(memory)
    with listening(costs), timed("inference"), timed("coarse"):
        time.sleep(0.05)
    assert costs.seconds["inference"] >= costs.seconds["coarse"] >= 0.05


def test_a_stage_that_fails_is_measured_and_its_error_goes_on(memory):
    costs = Costs(memory)
    with pytest.raises(ValueError, match="broken"), listening(costs), timed("coarse"):
        raise ValueError("broken")
    assert "coarse" in costs.seconds


def test_without_a_listener_no_clock_is_read(monkeypatch):
    monkeypatch.setattr(module.time, "perf_counter", lambda: pytest.fail("measured for nobody"))
    with timed("coarse"):
        pass
    with listening(None), timed("coarse"):
        pass


def test_each_thread_has_its_own_listener(memory):
    mine, other = Costs(memory), Costs(memory)

    def work() -> None:
        with timed("nobody"):
            pass
        with listening(other), timed("theirs"):
            pass

    with listening(mine):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with timed("mine"):
            pass
    assert (list(mine.seconds), list(other.seconds)) == (["mine"], ["theirs"])


@pytest.fixture
def counter(monkeypatch) -> list[float]:
    """A high-water mark in MiB instead of the process's: set the first element; reading resets it to the second."""
    mark = [100.0, 100.0]

    def read(_: PeakMemory) -> float:
        peak, mark[0] = mark[0], mark[1]
        return peak * MIB

    monkeypatch.setattr(PeakMemory, "_high_water_mark", read)
    return mark


def test_a_case_hears_of_the_peaks_of_its_own_time_only(memory, counter):
    before = Costs(memory)
    counter[0] = 900.0
    after = Costs(memory)
    counter[0] = 300.0
    memory.update()
    assert (before.peak_mib, after.peak_mib) == (900.0, 300.0)


def test_a_peak_that_another_case_read_and_reset_is_not_lost(memory, counter):
    first, second = Costs(memory), Costs(memory)
    counter[0] = 700.0
    Costs(memory)
    memory.update()
    assert (first.peak_mib, second.peak_mib) == (700.0, 700.0)


def test_peak_of_the_process_rises_by_what_was_allocated_and_falls_when_it_is_gone(memory):
    if "ru_maxrss" in memory.kind:
        pytest.skip("the system does not let a process reset its highest resident memory")
    peaks = []
    for size in (1, 65, 1):
        case = Costs(memory)
        with mmap.mmap(-1, size * MIB) as pages:  # straight from the system, unlike an array
            for _ in range(size):
                pages.write(bytes(MIB))
        memory.update()
        peaks.append(case.peak_mib)
    assert peaks[1] - peaks[0] == pytest.approx(64, abs=8)
    assert peaks[1] - peaks[2] == pytest.approx(64, abs=8)


def test_where_the_peak_cannot_be_reset_its_name_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    memory = PeakMemory("cpu")
    costs = Costs(memory)
    memory.update()
    assert "since its start (ru_maxrss)" in memory.kind
    assert costs.peak_mib > 10
