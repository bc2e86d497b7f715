"""The record of cases that could not be done."""

from __future__ import annotations

import json

import ignite.distributed as idist
import pytest
from ignite.engine import Engine

from common.handlers.failures import CasesFailed, FailureLog


@pytest.fixture
def log(tmp_path) -> FailureLog:
    return FailureLog(tmp_path / "out")


def read(log: FailureLog) -> list:
    return json.loads(log.path.read_text())


def run(log: FailureLog, cases: list[str], bad: set[str]) -> None:
    def step(engine, case):
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
    with pytest.raises(CasesFailed, match=r"1 of 3 cases failed, listed in .*failures\.json"):
        log.exit()


def test_a_run_without_failures_goes_on(log):
    run(log, ["a"], set())
    log.exit()


def test_the_end_of_a_run_writes_the_file_once(log, monkeypatch):
    run(log, ["a"], set())
    monkeypatch.setattr(idist, "all_gather", lambda rows: pytest.fail("all processes would wait for each other"))
    log.exit()


def test_a_failed_write_leaves_no_partial_file(log, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *a, **k: 1 / 0)
    run(log, ["a"], set())
    with pytest.raises(CasesFailed, match="not written"):
        log.exit()
    assert list(log.path.parent.iterdir()) == []
