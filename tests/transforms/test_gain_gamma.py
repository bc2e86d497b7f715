"""Random gain and gamma against their formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.transforms import RandGainGammad


def test_given_gain_and_gamma_are_the_formula():
    volume = torch.tensor([-2.0, -0.5, 0.0, 0.5, 4.0]).reshape(1, 1, 1, 5)
    out = RandGainGammad("image", prob=1.0, gain=(1.1, 1.1), gamma=(0.5, 0.5))({"image": volume})["image"]
    expected = [-1.1 * 2**0.5, -1.1 * 0.5**0.5, 0.0, 1.1 * 0.5**0.5, 1.1 * 2.0]
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_every_channel_has_a_gain_and_a_gamma_of_its_own_within_the_ranges():
    transform = RandGainGammad("image", prob=1.0).set_random_state(0)
    volume = torch.tensor([1.0, np.e]).reshape(1, 1, 1, 2).expand(500, 1, 1, 2)  # shows gain, and gain * exp(gamma)
    gains, scaled = transform({"image": volume})["image"].flatten(1).double().T
    gammas = torch.log(scaled / gains)
    for numbers in (gains, gammas):
        assert 0.8 <= numbers.min() < 0.81 and 1.19 < numbers.max() <= 1.2
    assert abs(np.corrcoef(gains, gammas)[0, 1]) < 0.15


def test_half_of_all_volumes_stay_as_they_are():
    transform = RandGainGammad("image", prob=0.5).set_random_state(1)
    volume = torch.rand(1, 2, 2, 2)
    same = [transform({"image": volume})["image"] is volume for _ in range(1000)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.05)


def test_the_volume_that_came_in_is_not_written_to():
    volume = torch.rand(1, 2, 2, 2)
    before = volume.clone()
    RandGainGammad("image", prob=1.0)({"image": volume})
    assert torch.equal(volume, before)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (1.2, 0.8), (1.0,)])
@pytest.mark.parametrize("name", ["gain", "gamma"])
def test_a_range_that_is_none_is_refused(name, limits):
    with pytest.raises(ValueError, match=f"{name} is a range of positive numbers"):
        RandGainGammad("image", **{name: limits})
