"""The benchmark still fits the bundles' training configs."""

import json

import pytest

from tools.train_step_benchmark import benchmark


@pytest.mark.parametrize("bundle", ["vnet_left_atrium", "unet_liver_tumor"])
def test_the_bundles_step_is_compared_with_the_plain_one(bundle: str, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark(bundle, shape=(32, 32, 32), repeats=1)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ratio"] == pytest.approx(result["seconds"]["bundle"][0] / result["seconds"]["plain"][0])
