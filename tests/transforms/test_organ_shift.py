"""Organs change their brightness as wholes, within the paper's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.transforms import RandOrganShiftd


def case() -> dict[str, torch.Tensor]:
    """Ten voxels of each of the classes 0 to 4."""
    label = torch.arange(5, dtype=torch.uint8).repeat_interleave(10).reshape(1, 5, 10, 1)
    return {"image": torch.linspace(-300, 300, 50).reshape(label.shape), "label": label}


def changes(times: int, **settings: object) -> np.ndarray:
    """What was added to each class, (times, 5)."""
    shift = RandOrganShiftd("image", **settings).set_random_state(0)
    added = [(shift(case())["image"] - case()["image"]).squeeze() for _ in range(times)]  # (5, 10)
    for one in added:
        torch.testing.assert_close(one, one[:, :1].expand_as(one), atol=1e-4, rtol=0)
    return torch.stack(added)[:, :, 0].numpy()


def test_every_organ_gets_a_whole_number_of_its_own_and_the_background_none() -> None:
    added = changes(200, prob=1.0)
    np.testing.assert_allclose(added, np.rint(added), atol=1e-3)
    assert np.abs(added[:, 0]).max() == 0
    assert np.abs(np.corrcoef(added[:, 1:].T) - np.eye(4)).max() < 0.25


def test_numbers_are_uniform_from_minus_200_to_199() -> None:
    added = np.rint(changes(3000, prob=1.0)[:, 1:])
    assert (added.min(), added.max()) == (-200, 199)
    assert added.std() == pytest.approx(np.sqrt((400**2 - 1) / 12), rel=0.03)


def test_each_organ_changes_in_half_of_the_cases_whether_or_not_the_others_do() -> None:
    changed = np.abs(changes(1000)[:, 1:]) > 0.5
    np.testing.assert_allclose(changed.mean(axis=0), 0.5, atol=0.06)
    assert changed.all(axis=1).mean() == pytest.approx(1 / 16, abs=0.03)


def test_with_probability_0_the_image_is_the_same_object() -> None:
    data = case()
    assert RandOrganShiftd("image", prob=0.0)(data)["image"] is data["image"]


def test_the_image_that_came_in_is_not_changed() -> None:
    data = case()
    RandOrganShiftd("image", prob=1.0)(data)
    assert torch.equal(data["image"], case()["image"])
