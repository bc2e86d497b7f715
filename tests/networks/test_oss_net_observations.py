"""What OSS-Net sees, against padding, interpolation and cutting voxel by voxel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from common.networks.oss_net.observations import global_observation, local_observation, pooled_means


@pytest.mark.parametrize(
    ("shape", "before", "size"),
    [
        ((12, 12, 7), (2, 2, 1), (16, 16, 10)),  # as BraTS: 8, 8 and 3 before
        ((11, 8, 7), (3, 0, 0), (16, 8, 8)),
        ((8, 8, 8), (0, 0, 0), (8, 8, 8)),
        ((7, 9, 10), (1, 4, 3), (16, 16, 16)),
    ],
)
def test_the_global_observation_is_the_padded_volume_at_half_resolution(shape, before, size):
    volume = torch.randn(2, 3, *shape)
    after = [n - b - s for n, b, s in zip(size, before, shape, strict=True)]
    padded = F.pad(volume, [w for pair in zip(before[::-1], after[::-1], strict=True) for w in pair])
    expected = F.interpolate(padded, scale_factor=0.5, mode="trilinear", align_corners=False)
    torch.testing.assert_close(global_observation(volume, list(before), list(size)), expected, atol=1e-6, rtol=1e-6)


POINTS = [[0, 0, 0], [8, 9, 7], [4, 5, 3], [8, 0, 4], [3, 6, 6], [-2, 5, 11]]


def cut(volume: torch.Tensor, point: list[int], first: int, side: int) -> torch.Tensor:
    """The window, by padding and slicing."""
    wide = F.pad(volume, (20,) * 6)
    return wide[(slice(None), *(slice(20 + p + first, 20 + p + first + side) for p in point))]


def test_the_small_window_is_centered_on_the_point_and_zero_outside():
    volume = torch.randn(2, 9, 10, 8)
    patches = local_observation(volume, None, torch.tensor(POINTS))
    assert torch.equal(patches, torch.stack([cut(volume, p, -3, 7) for p in POINTS]))


def test_the_large_window_is_mean_pooled_and_half_a_voxel_off():
    volume = torch.randn(2, 9, 10, 8)
    patches = local_observation(volume, pooled_means(volume), torch.tensor(POINTS))
    expected = torch.stack([F.avg_pool3d(cut(volume, p, -7, 14)[None], 2)[0] for p in POINTS])
    torch.testing.assert_close(patches[:, 2:], expected)
    assert torch.equal(patches[:, :2], local_observation(volume, None, torch.tensor(POINTS)))


def test_a_padded_volume_shows_the_same_surroundings():
    volume, points = torch.randn(1, 9, 10, 8), torch.tensor(POINTS)
    padded = F.pad(volume, (3, 2, 8, 8, 1, 2))
    here = local_observation(volume, pooled_means(volume), points)
    there = local_observation(padded, pooled_means(padded), points + torch.tensor([1, 8, 3]))
    torch.testing.assert_close(here, there)
