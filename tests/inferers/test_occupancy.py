"""OSS-Net as an inferer: equal to the network asked voxel by voxel, for any volume, whatever the number of points."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.inferers import AutocastInferer, LowResolutionStart, OccupancyInferer
from common.networks import OSSNet


def network(variant: str = "C", out_channels: int = 1, low_shape: tuple[int, ...] = (1, 2, 1)) -> OSSNet:
    net = OSSNet(1, out_channels, variant=variant, channels=(2, 4), low_shape=low_shape, width=8).eval()
    for parameter in net.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.3)
    return net


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("variant", ["O-Net", "A", "C", "D"])
def test_dense_equals_the_network_asked_for_every_voxel(variant):
    net, volume = network(variant), torch.randn(2, 1, 8, 16, 8)
    torch.testing.assert_close(
        OccupancyInferer("dense", max_points=300)(volume, net), net(volume), atol=1e-5, rtol=1e-5
    )


def test_the_answer_does_not_depend_on_the_number_of_points_at_a_time():
    net, volume = network(), torch.randn(1, 1, 8, 8, 8)
    few, many = (OccupancyInferer("mise", depth=2, max_points=n)(volume, net) for n in (100, 10**6))
    torch.testing.assert_close(few, many, atol=1e-5, rtol=1e-5)


def test_a_smaller_volume_is_padded_to_the_working_grid_with_the_larger_half_before_it():
    net, volume = network(), torch.randn(1, 1, 4, 7, 3)
    answer = OccupancyInferer("dense", working_size=(8, 8, 8))(volume, net)
    padded = net(F.pad(volume, (3, 2, 1, 0, 2, 2)))
    torch.testing.assert_close(answer, padded[:, :, 2:6, 1:, 3:6], atol=1e-5, rtol=1e-5)


def test_a_larger_volume_grows_the_grid_to_a_multiple_of_the_networks_divisor():
    net, volume = network(), torch.randn(1, 1, 11, 8, 6)
    answer = OccupancyInferer("dense", working_size=(8, 8, 8))(volume, net)
    padded = net(F.pad(volume, (1, 1, 0, 0, 3, 2)))
    torch.testing.assert_close(answer, padded[:, :, 3:14, :, 1:7], atol=1e-5, rtol=1e-5)


def test_a_volume_can_be_resized_to_the_working_grid_and_the_answer_back():
    net, volume = network("A", low_shape=(1, 1, 1)), torch.randn(1, 1, 10, 6, 5)
    answer = OccupancyInferer("dense", working_size=(8, 8, 8), placement="resize")(volume, net)
    inner = net(F.interpolate(volume, (8, 8, 8), mode="trilinear"))
    torch.testing.assert_close(answer, F.interpolate(inner, (10, 6, 5), mode="trilinear"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strategy", ["dense", "mise", "coarse_to_fine"])
def test_a_start_that_excludes_nothing_changes_nothing(strategy):
    net, volume = network(), torch.randn(1, 1, 8, 8, 8)
    everything = LowResolutionStart(threshold=-1)
    plain, started = OccupancyInferer(strategy), OccupancyInferer(strategy, start=everything)
    assert torch.equal(plain(volume, net), started(volume, net)) and plain.evaluated == started.evaluated


@pytest.mark.parametrize("strategy", ["dense", "mise", "coarse_to_fine"])
def test_a_start_that_excludes_everything_gives_the_background(strategy):
    net, volume = network(out_channels=3), torch.randn(1, 1, 8, 8, 8)
    inferer = OccupancyInferer(strategy, start=LowResolutionStart(threshold=1), output="softmax")
    assert inferer(volume, net).argmax(dim=1).sum() == 0 and sum(inferer.evaluated[0]) == 0


def test_a_start_needs_a_network_with_an_auxiliary_segmentation():
    with pytest.raises(ValueError, match="this variant has no auxiliary segmentation to start from"):
        OccupancyInferer(start=LowResolutionStart())(torch.zeros(1, 1, 8, 16, 8), network("A"))


def test_says_how_many_points_it_evaluated_in_each_round_of_each_case(caplog):
    inferer = OccupancyInferer("dense")
    with caplog.at_level(logging.INFO):
        inferer(torch.randn(2, 1, 8, 8, 8), network())
    assert inferer.evaluated == [[512], [512]]
    assert caplog.messages == ["dense: 512 = 512 points evaluated, of 512 voxels"] * 2


def test_an_auxiliary_segmentation_points_to_the_same_places_in_mixed_precision():
    net, volume = network(), torch.randn(1, 1, 8, 8, 8)
    start = LowResolutionStart(threshold=0.4, dilation=0)
    answers = [AutocastInferer(OccupancyInferer("dense", start=start), amp=amp)(volume, net) for amp in (False, True)]
    assert torch.equal(*(answer == -30 for answer in answers))


def test_works_in_mixed_precision():
    net, volume = network(), torch.randn(1, 1, 8, 8, 8)
    full, mixed = (AutocastInferer(OccupancyInferer("dense"), amp=amp)(volume, net) for amp in (False, True))
    assert mixed.dtype == torch.float32
    assert (torch.sigmoid(full) - torch.sigmoid(mixed)).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "octree"}, "one of dense, mise, coarse_to_fine, got 'octree'"),
        ({"placement": "crop"}, "pad or resize, got 'crop'"),
        ({"output": "classes"}, "one of sigmoid, softmax, got 'classes'"),
        ({"placement": "resize"}, "needs the working_size"),
    ],
)
def test_refuses_settings_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        OccupancyInferer(**options)


@pytest.mark.parametrize(("output", "considered"), [("sigmoid", 512), ("softmax", 0)])
def test_a_search_starts_where_any_structure_may_be_the_background_is_none(output, considered):
    net, volume = network(out_channels=3), torch.randn(1, 1, 8, 8, 8)
    nn.init.zeros_(net.encoder.segmentation.weight)
    net.encoder.segmentation.register_forward_hook(lambda *_: torch.tensor([9.0, -9, -9]).view(1, 3, 1, 1, 1))
    inferer = OccupancyInferer("dense", start=LowResolutionStart(), output=output)
    inferer(volume, net)
    assert sum(inferer.evaluated[0]) == considered  # the first channel is a structure, or the background
