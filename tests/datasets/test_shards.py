"""Whose cases are whose, and who decides, when several processes do one job."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import ignite.distributed as idist
import pytest

from common.datasets import run_on_rank_zero, shard, sharded_loader, validation_shard
from common.datasets.errors import DataError


def in_each_of(processes: int, monkeypatch: pytest.MonkeyPatch, function) -> list:
    """What ``function`` returns in each of so many processes."""
    results = []
    monkeypatch.setattr(idist, "get_world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        results.append(function())
    return results


@pytest.mark.parametrize(("cases", "processes"), [(7, 2), (2, 4), (0, 2), (5, 1)])
def test_every_case_is_one_process_s(cases, processes, monkeypatch):
    shares = in_each_of(processes, monkeypatch, lambda: shard(range(cases)))
    assert sorted(chain(*shares)) == list(range(cases))


@pytest.mark.parametrize(("cases", "processes", "each"), [(4, 8, 1), (6, 8, 3), (7, 8, 7), (1, 2, 1)])
def test_few_validation_cases_count_equally_and_no_process_is_without(cases, processes, each, monkeypatch):
    shares = in_each_of(processes, monkeypatch, lambda: validation_shard(range(cases)))
    assert [len(one) for one in shares] == [each] * processes
    assert set(Counter(chain(*shares)).values()) == {each * processes // cases}


def test_enough_validation_cases_are_validated_once(monkeypatch):
    shares = in_each_of(2, monkeypatch, lambda: validation_shard(range(5)))
    assert shares == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("cases", [5, 8, 9])
def test_an_epoch_has_as_many_steps_as_in_one_process(cases, drop_last, monkeypatch):
    def steps() -> int:
        return len(sharded_loader(range(cases), batch_size=4, seed=0, drop_last=drop_last))

    alone = steps()
    assert in_each_of(2, monkeypatch, steps) == [alone, alone]


def test_a_batch_smaller_than_the_number_of_processes_is_one_for_each_and_a_line_says_so(monkeypatch, caplog):
    with caplog.at_level("INFO"):
        loaders = in_each_of(3, monkeypatch, lambda: sharded_loader(range(9), batch_size=2, seed=0))
    assert [loader.batch_size for loader in loaders] == [1, 1, 1]
    assert "batch_size 2 on 3 processes: each takes 1, 3 in all" in caplog.text


def test_the_order_depends_on_seed_and_epoch_alone(monkeypatch):
    def order(seed: int, epoch: int) -> list[int]:
        loader = sharded_loader(range(20), batch_size=2, seed=seed, shuffle=True)
        loader.sampler.set_epoch(epoch)
        return list(loader.sampler)

    orders = {key: in_each_of(2, monkeypatch, lambda key=key: order(*key)) for key in [(0, 1), (0, 2), (1, 1)]}
    assert orders[0, 1] == in_each_of(2, monkeypatch, lambda: order(0, 1))
    assert sorted(chain(*orders[0, 1])) == list(range(20))
    assert orders[0, 1] != orders[0, 2]
    assert orders[0, 1] != orders[1, 1]


def test_only_the_first_process_decides(monkeypatch):
    told = []

    def all_gather(outcome: dict) -> list[dict]:
        told.append(outcome)
        return told

    monkeypatch.setattr(idist, "all_gather", all_gather)
    calls = iter(["a", "b"])
    assert in_each_of(2, monkeypatch, lambda: run_on_rank_zero(lambda: next(calls))) == ["a", "a"]


def test_a_decision_within_a_decision_is_told_once(monkeypatch):
    told = []

    def all_gather(outcome: dict) -> list[dict]:
        told.append(outcome)
        return told

    monkeypatch.setattr(idist, "all_gather", all_gather)
    answers = in_each_of(2, monkeypatch, lambda: run_on_rank_zero(lambda: [run_on_rank_zero(lambda: "inner")]))
    assert answers == [["inner"], ["inner"]] and len(told) == 2  # once in each process


def test_an_error_of_the_first_process_ends_all_and_each_knows_that(monkeypatch):
    told = []

    def all_gather(outcome: dict) -> list[dict]:
        told.append(outcome)
        return told

    def stop() -> None:
        raise DataError("no such folder")

    def raised() -> tuple[type, str, bool]:
        with pytest.raises((DataError, RuntimeError)) as end:
            run_on_rank_zero(stop)
        return type(end.value), str(end.value), end.value.in_all_processes

    monkeypatch.setattr(idist, "all_gather", all_gather)
    text = "no such folder"
    assert in_each_of(2, monkeypatch, raised) == [(DataError, text, True), (RuntimeError, text, True)]
