"""The record of cases that could not be done."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import ignite.distributed as idist
import pytest
from ignite.engine import Engine

from common.handlers.failures import CasesFailed, FailureLog


@pytest.fixture
def log(tmp_path) -> FailureLog:
    return FailureLog(tmp_path / "out")


def read(log: FailureLog) -> list:
    return json.loads(log.path.read_text())


def run(log: FailureLog, cases: list[str], bad: set[str], *, then: Any = None) -> None:
    """A run over cases; ``then``, or what it gives, is raised at the last one."""

    def step(engine, case):
        if then is not None and case == cases[-1]:
            raise then() if callable(then) else then
        if case in bad:
            log.record(case, f"data/{case}.nrrd", "truncated file")

    engine = Engine(step)
    log.attach(engine)
    engine.run(cases)


def test_failed_cases_are_written_with_path_and_reason(log):
    run(log, ["a", "b", "c"], {"b"})
    assert read(log) == [{"case": "b", "path": "data/b.nrrd", "reason": "truncated file"}]


def test_without_failures_the_file_is_an_empty_list(log):
    run(log, ["a"], set())
    assert read(log) == []


def test_a_second_run_starts_afresh(log):
    run(log, ["a"], {"a"})
    run(log, ["a"], set())
    assert (log.count, read(log)) == (0, [])


def test_failures_of_all_processes_are_written_and_counted(log, monkeypatch):
    other = {"case": "a", "path": "data/a.nrrd", "reason": "no such file"}
    monkeypatch.setattr(idist, "all_gather", lambda rows: [rows, [other]])
    run(log, ["b"], {"b"})
    assert [row["case"] for row in read(log)] == ["a", "b"]
    assert log.count == 2


def test_a_run_with_failures_ends_by_an_exception_that_says_how_many_of_how_many(log):
    run(log, ["a", "b", "c"], {"a"})
    with pytest.raises(CasesFailed) as end:
        log.exit()
    assert str(end.value) == f"1 of 3 cases failed, listed in {log.path}" and end.value.says_all


def test_a_run_without_failures_goes_on(log):
    run(log, ["a"], set())
    log.exit()


def test_the_end_of_a_run_writes_the_file_once(log, monkeypatch):
    run(log, ["a"], set())
    monkeypatch.setattr(idist, "all_gather", lambda rows: pytest.fail("all processes would wait for each other"))
    log.exit()


def test_a_failed_write_leaves_no_partial_file(log, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *a, **k: 1 / 0)
    run(log, ["a"], {"a"})
    with pytest.raises(CasesFailed, match=r"^1 of 1 case failed; not written: .*failures\.json$"):
        log.exit()
    assert [path.name for path in log.path.parent.iterdir()] == ["failures.log"]


class Killed(BaseException):
    """Stands for Ctrl-C and for signals."""


def test_what_is_known_when_a_run_is_interrupted_is_written(log):
    with pytest.raises(Killed):
        run(log, ["a", "b"], {"a"}, then=Killed())
    assert [row["case"] for row in read(log)] == ["a"]


def test_what_other_processes_wrote_stays_when_a_run_is_interrupted(log, monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    other = FailureLog(log.path.parent)

    def interrupted():
        other.record("z", "data/z.nrrd", "no such file")
        return Killed()

    with pytest.raises(Killed):
        run(log, ["a", "b"], {"a"}, then=interrupted)
    assert [row["case"] for row in read(log)] == ["a", "z"]


def test_an_interrupted_run_does_not_leave_the_failures_of_an_earlier_one(log):
    run(log, ["a"], {"a"})
    with pytest.raises(Killed):
        run(log, ["b"], set(), then=Killed())
    assert read(log) == []


def test_nothing_is_computed_where_nothing_can_be_written(log, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    steps = []
    engine = Engine(lambda engine, case: steps.append(case))
    log.attach(engine)
    with pytest.raises(OSError, match="No space left on device; nothing can be written there") as error:
        engine.run(["a"])
    assert (steps, error.value.filename) == ([], str(log.path.parent))
    assert list(log.path.parent.iterdir()) == []


def test_a_folder_in_the_files_place_costs_only_that_file(log, caplog):
    (log.path / "in the way").mkdir(parents=True)
    run(log, ["a", "b"], {"a"})
    assert caplog.text.count(f"{log.path}: cannot be written (") == 1
    assert "Traceback" not in caplog.text
    with pytest.raises(CasesFailed, match=r"^1 of 2 cases failed; not written: .*failures\.json$"):
        log.exit()


def test_the_traceback_of_a_report_that_fails_by_a_programming_error_goes_to_the_log(log, caplog):
    with log.report("metrics.json"):
        raise KeyError("dice")
    assert [record.getMessage() for record in caplog.records] == [
        f"metrics.json: cannot be written (KeyError: 'dice'); traceback: {log.log}"
    ]
    assert "test_failures.py" in log.log.read_text() and "KeyError: 'dice'" in log.log.read_text()


def test_a_report_on_a_full_disk_is_one_line_and_no_traceback(log, caplog):
    with log.report("metrics.json"):
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.json")
    assert [record.getMessage() for record in caplog.records] == [
        "metrics.json: cannot be written (No space left on device)"
    ]
    assert not log.log.exists()
