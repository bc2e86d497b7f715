"""The grid of patches, against a brute-force merge that follows the rules patch by patch and voxel by voxel."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer

from common.inferers import GridInferer
from common.inferers.grid import patch_starts


class PositionInPatch(torch.nn.Module):
    """Answers with two channels that depend on the image and, unlike a convolution's, on the place in the patch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x * x], dim=1) + torch.as_tensor(ramp(x.shape[2:]), dtype=x.dtype)


def ramp(sides: tuple[int, ...]) -> np.ndarray:
    """A different number for every voxel of a patch."""
    return np.arange(np.prod(sides)).reshape(sides) * 0.01


def brute_force(volume: np.ndarray, patch: tuple, overlap: tuple, mode: str) -> np.ndarray:
    """(D, H, W) to (2, D, H, W): every patch in order, borders trimmed, later ones overwriting; or weighted sums."""
    sides = volume.shape
    starts = []
    for n, p, o in zip(sides, patch, overlap, strict=True):
        own, s = [], 0
        while s <= n - p:
            own.append(s)
            s += p - o
        if own[-1] != n - p:
            own.append(n - p)
        starts.append(own)
    weight = np.ones(patch)
    if mode == "hann":
        for axis, p in enumerate(patch):
            window = np.hanning(p + 2)[1:-1]
            weight = weight * window.reshape([-1 if a == axis else 1 for a in range(3)])
    total, weights = np.zeros((2, *sides)), np.zeros(sides)
    for corner in product(*starts):
        where = tuple(slice(s, s + p) for s, p in zip(corner, patch, strict=True))
        values = np.stack([volume[where], volume[where] ** 2]) + ramp(patch)
        if mode == "crop":
            for i in np.ndindex(*patch):
                at = [s + j for s, j in zip(corner, i, strict=True)]
                if all(
                    (s == 0 or j >= o // 2) and (s + p == n or j < p - o // 2)
                    for s, j, o, p, n in zip(corner, i, overlap, patch, sides, strict=True)
                ):
                    total[(slice(None), *at)] = values[(slice(None), *i)]
                    weights[tuple(at)] = 1
        else:
            total[(slice(None), *where)] += weight * values
            weights[where] += weight
    return total / weights


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
@pytest.mark.parametrize(
    ("sides", "patch", "overlap"),
    [
        ((14, 8, 11), (6, 6, 6), (2, 2, 2)),  # fits; shifted by almost a whole patch; shifted by a part
        ((9, 10, 7), (5, 4, 7), (4, 0, 6)),  # overlap of all but one voxel; none; a single patch
    ],
)
def test_the_merged_patches_are_those_of_the_rules_followed_voxel_by_voxel(mode, sides, patch, overlap):
    volume = np.random.default_rng(0).standard_normal(sides)
    merged = GridInferer(patch, overlap=overlap, mode=mode)(torch.from_numpy(volume)[None, None], PositionInPatch())
    np.testing.assert_allclose(merged[0].numpy(), brute_force(volume, patch, overlap, mode), rtol=1e-6, atol=1e-6)


def test_patches_start_where_the_specification_says():
    assert [patch_starts(n, 96, 8) for n in (256, 200)] == [[0, 88, 160], [0, 88, 104]]


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
def test_a_volume_of_the_original_size_takes_27_patches_in_7_batches_of_4(mode):
    seen: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x.clone()

    GridInferer(96, overlap=8, mode=mode)(torch.zeros(1, 1, 256, 256, 200), network)
    assert seen == [4, 4, 4, 4, 4, 4, 3]


def test_where_trimmed_patches_still_meet_the_later_one_counts():
    def patch_number(x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :1, :1, :1].expand(x.shape).clone()  # the first voxel says which patch it is

    volume = torch.arange(256.0).reshape(1, 1, 256, 1, 1).expand(1, 1, 256, 4, 4).contiguous()
    inferer = GridInferer((96, 4, 4), overlap=(8, 0, 0))
    owner = inferer(volume, patch_number)[0, 0, :, 0, 0]
    starts, counts = owner.unique(return_counts=True)
    assert starts.tolist() == [0, 88, 160]
    assert counts.tolist() == [92, 164 - 92, 256 - 164]


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
def test_the_batch_size_changes_nothing(mode):
    volume = torch.rand(2, 1, 10, 9, 8)
    one, five = (GridInferer(6, overlap=2, mode=mode, sw_batch_size=n)(volume, PositionInPatch()) for n in (1, 5))
    assert torch.equal(one, five)


def test_average_is_monais_sliding_window_with_the_overlap_as_a_share():
    volume = torch.rand(1, 1, 20, 18, 17)
    monai = SlidingWindowInferer(12, sw_batch_size=4, overlap=4 / 12, mode="constant")(volume, PositionInPatch())
    assert torch.equal(GridInferer(12, overlap=4, mode="average")(volume, PositionInPatch()), monai)


@pytest.mark.parametrize("mode", ["crop", "average"])
def test_every_overlap_gives_its_own_stride_in_spite_of_rounding(mode):
    for patch, overlap in ((p, o) for p in range(2, 60) for o in range(0, p, 2)):
        seen: list[int] = []
        inferer = GridInferer((patch, 1, 1), overlap=(overlap, 0, 0), mode=mode, sw_batch_size=1)
        inferer(torch.zeros(1, 1, 3 * patch, 1, 1), lambda x, seen=seen: (seen.append(1), x.clone())[1])
        assert len(seen) == len(patch_starts(3 * patch, patch, overlap))


def test_a_volume_with_its_affine_keeps_it():
    volume = MetaTensor(torch.rand(1, 1, 8, 8, 8), affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))
    merged = GridInferer(6, overlap=2)(volume, PositionInPatch())
    assert torch.equal(merged.affine, volume.affine)


@pytest.mark.parametrize("overlap", [3, 6, 8, -2])
def test_an_overlap_that_is_odd_or_as_large_as_the_patch_is_an_error(overlap):
    with pytest.raises(ValueError, match="overlap must be even and from 0 to below the patch of 6 voxels"):
        GridInferer(6, overlap=overlap)


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
def test_a_volume_smaller_than_the_patch_is_an_error(mode):
    with pytest.raises(ValueError, match=r"volume of \(8, 5, 8\) voxels is smaller than the patch of \(6, 6, 6\)"):
        GridInferer(6, overlap=2, mode=mode)(torch.zeros(1, 1, 8, 5, 8), PositionInPatch())


def test_an_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match=r"mode must be one of .*'gaussian'"):
        GridInferer(6, mode="gaussian")
