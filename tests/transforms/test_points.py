"""Points are drawn as the specification says, and the label becomes what it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms import SamplePointsd

SHAPE = (8, 12, 6)


def sample(label: torch.Tensor, border: torch.Tensor | None = None, *, seed: int = 0, **options):
    transform = SamplePointsd(**{"points": 400, **options})
    transform.set_random_state(seed)
    data = {"label": MetaTensor(label)} | ({} if border is None else {"border": MetaTensor(border)})
    return transform(data)


def half() -> torch.Tensor:
    label = torch.zeros(1, *SHAPE)
    label[:, :4] = 1
    return label


def test_every_index_of_every_axis_is_drawn_the_last_too():
    points = sample(half(), points=4000)["points"]
    assert points.shape == (4000, 3) and points.dtype == torch.int32
    for axis, size in enumerate(SHAPE):
        counts = np.bincount(points[:, axis], minlength=size)
        assert len(counts) == size
        assert np.abs(counts / 4000 - 1 / size).max() < 5 * np.sqrt(1 / size / 4000)


def test_the_target_is_the_label_at_the_points_and_behind_them_its_maximum_at_low_resolution():
    out = sample(half(), low_shape=(4, 3, 2))
    expected = [1 if z < 4 else 0 for z in out["points"][:, 0]]
    assert out["label"].shape == (1, 400 + 24) and out["label"].dtype == torch.uint8
    assert out["label"][0, :400].tolist() == expected
    assert out["label"][0, 400:].view(4, 6).tolist() == [[1] * 6, [1] * 6, [0] * 6, [0] * 6]


def test_a_single_voxel_fills_its_low_resolution_voxel():
    label = torch.zeros(1, *SHAPE)
    label[0, 7, 11, 5] = 1
    low = sample(label, low_shape=(4, 3, 2))["label"][0, 400:]
    assert low.tolist() == [0] * 23 + [1]


def test_classes_become_channels_and_a_low_resolution_voxel_holds_all_classes_in_it():
    label = torch.zeros(1, *SHAPE)
    label[0, 0, 0, 0], label[0, 1, 0, 0] = 1, 2
    out = sample(label, out_channels=3, low_shape=(4, 3, 2))
    assert out["label"].shape == (3, 424)
    assert (out["label"][:, :400].sum(dim=0) == 1).all()
    assert out["label"][:, 400].tolist() == [1, 1, 1] and out["label"][:, 401].tolist() == [1, 0, 0]


def test_a_share_is_drawn_from_the_border_without_replacement():
    border = torch.zeros(1, *SHAPE)
    border[:, 3:5] = 1  # 144 voxels
    points = sample(half(), border, points=200, border_fraction=0.55)["points"]
    near = points[(points[:, 0] == 3) | (points[:, 0] == 4)]
    assert len(near) >= 110
    assert len(torch.unique(near, dim=0)) >= 110


def test_all_of_a_small_border_is_taken_and_the_rest_is_uniform():
    border = torch.zeros(1, *SHAPE)
    border[0, 7, 11, :5] = 1
    out = sample(half(), border, points=20, border_fraction=0.5)
    drawn = {tuple(p) for p in out["points"].tolist()}
    assert len(out["points"]) == 20 and {(7, 11, x) for x in range(5)} <= drawn


def test_border_points_are_shuffled_among_the_others():
    border = torch.zeros(1, *SHAPE)
    border[:, 0] = 1
    near = sample(half(), border, points=100, border_fraction=0.5)["points"][:, 0] == 0
    assert near[:50].any() and near[50:].any() and not near[:50].all()


def test_the_border_is_not_passed_on():
    assert set(sample(half(), half())) == {"label", "points"}


def test_the_same_random_state_draws_the_same_points():
    assert torch.equal(sample(half(), seed=3)["points"], sample(half(), seed=3)["points"])
    assert not torch.equal(sample(half(), seed=3)["points"], sample(half(), seed=4)["points"])


def test_says_when_the_border_is_missing_or_was_not_moved_with_the_label():
    with pytest.raises(ValueError, match=r"'border' is missing, .* make it with BorderMapd"):
        sample(half(), border_fraction=0.5)
    with pytest.raises(ValueError, match=r"'border' is \(1, 4, 4, 4\), the label is \(1, 8, 12, 6\)"):
        sample(half(), torch.zeros(1, 4, 4, 4), border_fraction=0.5)


def test_says_which_value_is_no_class():
    with pytest.raises(ValueError, match="has the value 4, expected classes 0 to 3; map its values before"):
        sample(4 * half(), out_channels=4)
