"""Brightness and noise of a training step: of the size that the paper's code has, and only where the volume is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from common.inferers import PointTrainingInferer

FRAME = torch.tensor([[[2, 1, 0], [34, 31, 32]], [[0, 0, 0], [36, 32, 32]]])
POINTS = torch.zeros(2, 5, 3, dtype=torch.int32)


def batch() -> Tensor:
    """Two volumes of three channels, whose maxima are 1, 2 and 3, in zeros."""
    volumes = torch.zeros(2, 3, 36, 32, 32, dtype=torch.float16)
    for volume, (first, behind) in zip(volumes, FRAME.tolist(), strict=True):
        inside = volume[(slice(None), *map(slice, first, behind))]
        inside[:] = -1
        inside[:, 0] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    return volumes


def seen(**options: float) -> tuple[Tensor, Tensor]:
    """What the network gets for the batch."""
    torch.manual_seed(0)
    return PointTrainingInferer(**options)(batch(), lambda volumes, points: (volumes, points), POINTS, FRAME)


def test_nothing_is_changed_without_luck() -> None:
    volumes, points = seen(prob=0.0)
    assert volumes.dtype == torch.float32
    assert torch.equal(volumes, batch().float()) and points is POINTS


def test_the_batch_itself_stays_as_it_is() -> None:
    given = batch().float()
    PointTrainingInferer(prob=1.0)(given, lambda volumes, points: volumes, POINTS, FRAME)
    assert torch.equal(given, batch().float())


def test_brightness_moves_each_channel_by_less_than_a_share_of_its_maximum() -> None:
    shift = (seen(prob=1.0, noise=0.0)[0] - batch())[:, :, 10, 10, 10] / torch.tensor([1.0, 2.0, 3.0])  # (2, 3)
    assert shift.abs().max() <= 0.15
    assert len(shift.flatten().unique()) == 6


def test_brightness_is_the_same_for_all_voxels_of_a_channel() -> None:
    change = (seen(prob=1.0, noise=0.0)[0] - batch())[0, :, 2:34, 1:31]
    torch.testing.assert_close(change, change[:, :1, :1, :1].expand_as(change), atol=1e-6, rtol=0)


def test_noise_has_the_standard_deviation_asked_for() -> None:
    change = (seen(prob=1.0, brightness=0.0)[0] - batch())[1]
    assert float(change.mean()) == pytest.approx(0, abs=0.003)
    assert [float(c.std()) for c in change] == pytest.approx([0.15] * 3, abs=0.003)


def test_the_zeros_around_a_volume_stay_zero() -> None:
    volumes, _ = seen(prob=1.0)
    volumes[0, :, 2:34, 1:31] = 0
    assert not volumes[0].any()


def test_about_half_of_the_volumes_get_noise() -> None:
    torch.manual_seed(0)
    inferer = PointTrainingInferer(brightness=0.0)
    volume, frame = torch.ones(1, 1, 4, 4, 4), torch.tensor([[[0, 0, 0], [4, 4, 4]]])
    changed = [not torch.equal(inferer(volume, lambda v, p: v, POINTS, frame), volume) for _ in range(200)]
    assert 80 < sum(changed) < 120


def test_the_same_seed_gives_the_same_noise() -> None:
    assert torch.equal(seen(prob=1.0)[0], seen(prob=1.0)[0])
