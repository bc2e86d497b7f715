"""Sizes that a network with poolings does not take."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer

from common.inferers import DivisiblePadInferer


class EightfoldSides(torch.nn.Module):
    """Takes multiples of 8 only, and answers with the sum of a voxel and its next along the last axis."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert all(n % 8 == 0 for n in x.shape[2:])
        return torch.cat([x, x + x.roll(-1, dims=-1)], dim=1)


def test_any_size_comes_back_as_it_went_in():
    volume = torch.rand(2, 1, 9, 16, 13)
    answer = DivisiblePadInferer()(volume, EightfoldSides())
    assert torch.equal(answer[:, :1], volume)


def test_beyond_the_volume_the_network_sees_the_value():
    volume = torch.rand(1, 1, 8, 8, 5)
    answer = DivisiblePadInferer(value=-3.0)(volume, EightfoldSides())
    assert torch.equal(answer[0, 1, :, :, 4], volume[0, 0, :, :, 4] - 3.0)


def test_windows_of_any_size_pass_through_the_network_too():
    volume = torch.rand(1, 1, 20, 11, 15)
    inferer = DivisiblePadInferer(SlidingWindowInferer((10, 6, 12), overlap=0.25))
    assert torch.allclose(inferer(volume, EightfoldSides())[:, :1], volume)


def test_a_volume_with_its_affine_keeps_it():
    volume = MetaTensor(torch.rand(1, 1, 9, 8, 7), affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))
    answer = DivisiblePadInferer()(volume, EightfoldSides())
    assert torch.equal(answer.affine, volume.affine)


@pytest.mark.parametrize("sides", [(8, 16, 24)])
def test_sizes_that_plan_are_left_alone(sides):
    volume = torch.rand(1, 1, *sides)
    assert torch.equal(DivisiblePadInferer()(volume, EightfoldSides()), EightfoldSides()(volume))
