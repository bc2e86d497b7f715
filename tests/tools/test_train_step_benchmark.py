"""The benchmark still fits the bundle's training config."""

import json

import pytest

from tools.train_step_benchmark import benchmark


def test_the_bundles_step_is_compared_with_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark(shape=(16, 16, 16), repeats=1)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ratio"] == pytest.approx(result["seconds"]["bundle"][0] / result["seconds"]["plain"][0])
