"""Points are drawn as the specification says, and the label becomes what it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms import SamplePointsd

SHAPE = (8, 12, 6)


def sample(label: torch.Tensor, border: torch.Tensor | None = None, *, seed: int = 0, **options):
    transform = SamplePointsd(**{"points": 400, "values": [[1]], **options})
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
    out = sample(label, values=[[0], [1], [2]], low_shape=(4, 3, 2))
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


def test_a_region_holds_all_its_values_and_may_hold_anothers():
    label = torch.zeros(1, *SHAPE)
    label[0, 1], label[0, 2], label[0, 3] = 1, 2, 4
    out = sample(label, values=[[1, 2, 4], [2, 4], [4]], low_shape=(4, 1, 1))
    rows = out["points"][:, 0]
    expected = [(rows >= low) & (rows <= 3) for low in (1, 2, 3)]
    assert torch.equal(out["label"][:, :400].bool(), torch.stack(expected))
    assert out["label"][:, 400:].tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("structures", [2, 4, 7])
def test_every_structure_has_an_equal_part_of_the_points_near_surfaces(structures: int):
    """The first is a thousand times as large as the last."""
    border = torch.zeros(structures, 40, 40, 40)
    for n, band in enumerate(border):
        band[2 * n : 2 * n + 2, : 40 - 5 * n, : 40 - 5 * n] = 1
    points = sample(torch.zeros(1, 40, 40, 40), border, points=60 * structures, border_fraction=1.0)["points"].long()
    counts = [int(band[tuple(points.T)].sum()) for band in border]
    assert counts == [60] * structures


def test_a_structure_that_a_case_lacks_leaves_its_part_to_the_others():
    border = torch.zeros(3, *SHAPE)
    border[0, 0], border[2, 7] = 1, 1
    points = sample(torch.zeros(1, *SHAPE), border, points=100, border_fraction=1.0)["points"]
    assert [int((points[:, 0] == row).sum()) for row in (0, 7)] == [50, 50]


def test_points_are_drawn_where_the_label_is_known_alone():
    label, border = torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE)
    label[0, :7] = 9
    label[0, 7, 0] = 1
    out = sample(label, border, points=100, border_fraction=0.3, values=[[1]], ignore=9)
    assert (out["points"][:, 0] == 7).all() and set(out["label"].unique().tolist()) == {0, 1}


def test_a_low_resolution_voxel_is_not_known_where_a_part_of_it_is_not_and_nothing_else_is_in_it():
    label = torch.zeros(1, *SHAPE)
    label[0, 0, 0, 0], label[0, 2, 0, 0], label[0, 2, 1, 0] = 9, 9, 1
    out = sample(label, values=[[1]], ignore=9, low_shape=(4, 1, 1))
    assert out["label"][0, 400:].tolist() == [255, 1, 0, 0]


def test_a_case_that_nobody_labeled_has_points_of_which_nothing_is_known():
    out = sample(torch.full((1, *SHAPE), 9.0), values=[[0], [1]], ignore=9, low_shape=(2, 2, 2))
    assert out["points"].shape == (400, 3) and (out["label"] == 255).all()
