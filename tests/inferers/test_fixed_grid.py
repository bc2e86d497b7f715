"""Any crop on one grid, and the answer back on the crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose, NormalizeIntensity, ScaleIntensityRange
from scipy.ndimage import zoom
from torch import Tensor, nn

from common.inferers import FixedGridInferer


class Note(nn.Module):
    """Two logits: the input and its negative; keeps what it saw."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return torch.cat([x, -x], dim=1)


def test_network_sees_the_grid_that_scipy_makes_then_clipped_then_of_mean_0_and_deviation_1():
    crop = torch.randn(1, 1, 9, 14, 21) * 400
    clip = ScaleIntensityRange(a_min=-325, a_max=325, b_min=-325, b_max=325, clip=True)
    network = Note()
    FixedGridInferer((12, 8, 10), normalize=Compose([clip, NormalizeIntensity()]))(crop, network)
    expected = zoom(crop[0, 0].double().numpy(), (12 / 9, 8 / 14, 10 / 21), order=1).clip(-325, 325)
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(network.seen[0, 0].numpy(), expected, atol=1e-4)


def test_a_constant_crop_is_zero_for_the_network():
    network = Note()
    FixedGridInferer(6, normalize=NormalizeIntensity())(torch.full((1, 1, 4, 5, 6), -1000.0), network)
    assert (network.seen == 0).all()


def test_logits_come_back_with_aligned_corners():
    grid = torch.randn(1, 2, 6, 7, 8)
    logits = FixedGridInferer((6, 7, 8), inferer=lambda x, network: grid)(torch.zeros(1, 1, 11, 5, 20), None)
    expected = [zoom(channel.numpy(), (11 / 6, 5 / 7, 20 / 8), order=1) for channel in grid[0]]
    np.testing.assert_allclose(logits[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(23, 31, 17), (5, 6, 4), (12, 12, 12), (1, 40, 13)])
@pytest.mark.parametrize("density", [0.5, 2.5, 9.0])
def test_masks_are_those_of_the_logits(shape: tuple[int, ...], density: float):
    grid = torch.randn(1, 3, 12, 12, 12) - density
    run = {"inferer": lambda x, network: grid}
    logits = FixedGridInferer(12, **run)(torch.zeros(1, 1, *shape), None)
    masks = FixedGridInferer(12, threshold=0.0, **run)(torch.zeros(1, 1, *shape), None)
    assert masks.dtype == torch.bool
    assert masks.shape == logits.shape
    clear = logits.abs() > 1e-5  # rounding decides the others
    assert torch.equal(masks[clear], logits[clear] >= 0)


def test_a_mask_between_the_voxels_of_a_small_crop_is_empty():
    grid = torch.full((1, 1, 12, 12, 12), -1.0)
    grid[0, 0, 5, 5, 5] = 0.5  # 5 x 6 x 4 voxels lie at multiples of 2.75, 2.2 and 3.67 on the grid
    masks = FixedGridInferer(12, inferer=lambda x, network: grid, threshold=0.0)(torch.zeros(1, 1, 5, 6, 4), None)
    assert not masks.any()


def test_every_crop_of_a_batch_is_normalized_on_its_own():
    network = Note()
    batch = torch.stack([torch.rand(1, 5, 5, 5), 100 + 50 * torch.rand(1, 5, 5, 5)])
    FixedGridInferer(5, normalize=NormalizeIntensity())(batch, network)
    assert network.seen.mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx([0, 0], abs=1e-5)


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_logits_that_are_not_finite_are_an_error_and_not_background(threshold):
    crop = torch.zeros(1, 1, 4, 4, 4)
    crop[0, 0, 1, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        FixedGridInferer(4, threshold=threshold)(crop, nn.Identity())
