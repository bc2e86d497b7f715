"""Mirrored views: nothing changes for a network that does not care, and the mean for one that does."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from common.inferers import GridInferer, MirrorInferer


def along_rows(x: Tensor) -> Tensor:
    """Adds to every voxel its place along the last axis, whichever way the volume lies."""
    return x + torch.arange(float(x.shape[-1]))


def test_a_network_that_does_not_know_left_from_right_answers_as_without():
    volume = torch.rand(1, 1, 6, 5, 4)
    assert torch.allclose(MirrorInferer()(volume, torch.sqrt), volume.sqrt())


def test_a_network_that_does_is_averaged_over_both_views():
    volume = torch.rand(1, 1, 6, 5, 4)
    # place k from the left is 3 - k from the right: the mean of both is 1.5 everywhere
    assert torch.allclose(MirrorInferer(axes=[2])(volume, along_rows), volume + 1.5)


def test_other_axes_are_left_alone():
    volume = torch.rand(1, 1, 6, 5, 4)
    assert torch.allclose(MirrorInferer(axes=[0, 1])(volume, along_rows), along_rows(volume))


@pytest.mark.parametrize(("axes", "views"), [([], 1), ([0], 2), ([0, 2], 4), ([0, 1, 2], 8)])
def test_every_combination_of_axes_is_seen_once(axes, views):
    corners = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    seen: list[float] = []
    MirrorInferer(axes=axes)(corners, lambda x: (seen.append(float(x[0, 0, 0, 0, 0])), x)[1])
    assert len(seen) == len(set(seen)) == views


def test_without_axes_the_network_is_asked_once_and_its_answer_kept():
    answer = torch.rand(1, 2, 3, 3, 3)
    assert MirrorInferer(axes=[])(torch.rand(1, 1, 3, 3, 3), lambda x: answer) is answer


@pytest.mark.parametrize("inner", [SlidingWindowInferer(4, overlap=0.5, mode="gaussian"), GridInferer(4, overlap=2)])
def test_views_pass_inside_the_windows_of_the_other_inferer(inner):
    volume = torch.rand(1, 1, 6, 5, 7)
    sides: set[tuple[int, ...]] = set()

    def network(x: Tensor) -> Tensor:
        sides.add(tuple(x.shape[2:]))
        return along_rows(x)

    assert torch.allclose(MirrorInferer(inner, axes=[2])(volume, network), volume + 1.5)
    assert sides == {(4, 4, 4)}


@pytest.mark.parametrize("axes", [[3], [-1], [0, 0]])
def test_an_axis_that_is_not_there_is_an_error(axes):
    with pytest.raises(ValueError, match="axes must be some of 0, 1 and 2"):
        MirrorInferer(axes=axes)
