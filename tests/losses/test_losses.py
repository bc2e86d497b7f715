"""Boundary and hybrid loss, and MONAI's Dice and focal loss as the configs use them, against formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss, FocalLoss

from common.losses import BoundaryLoss, HybridLoss

SHAPE = (3, 1, 4, 5, 6)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Logits, probabilities, a mask and a distance map, in double precision."""
    rng = np.random.default_rng(7)
    logits = rng.normal(scale=2, size=SHAPE)
    mask = (rng.random(SHAPE) < 0.2).astype(float)
    return {"logits": logits, "p": 1 / (1 + np.exp(-logits)), "mask": mask, "map": rng.normal(size=SHAPE) * 5}


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float()


def dice_loss() -> DiceLoss:
    return DiceLoss(sigmoid=True, batch=True, smooth_nr=0, smooth_dr=1e-6)


def dice_formula(p: np.ndarray, g: np.ndarray) -> float:
    return 1 - 2 * (p * g).sum() / max(p.sum() + g.sum(), 1e-6)


def test_dice_is_taken_over_the_whole_batch(arrays):
    loss = dice_loss()(tensor(arrays["logits"]), tensor(arrays["mask"]))
    assert float(loss) == pytest.approx(dice_formula(arrays["p"], arrays["mask"]), abs=1e-6)


def test_dice_of_nothing_against_nothing_is_finite():
    assert float(dice_loss()(torch.full(SHAPE, -200.0), torch.zeros(SHAPE))) == 1.0


def test_focal_is_the_alpha_balanced_formula(arrays):
    p, g = arrays["p"], arrays["mask"]
    p_t = np.where(g == 1, p, 1 - p)
    alpha_t = np.where(g == 1, 0.25, 0.75)
    expected = (-alpha_t * (1 - p_t) ** 2 * np.log(p_t)).mean()
    loss = FocalLoss(gamma=2.0, alpha=0.25)(tensor(arrays["logits"]), tensor(g))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_focal_with_alpha_and_weight_is_the_200_fold_foreground_formula(arrays):
    p, g = arrays["p"], arrays["mask"]
    bce = -(g * np.log(p) + (1 - g) * np.log(1 - p))
    expected = ((1 + 199 * g) * (1 - np.exp(-bce)) ** 2 * bce).mean()
    loss = FocalLoss(gamma=2.0, alpha=200 / 201, weight=201)(tensor(arrays["logits"]), tensor(g))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_boundary_is_the_mean_of_probability_times_distance(arrays):
    loss = BoundaryLoss()(tensor(arrays["logits"]), tensor(arrays["map"]))
    assert float(loss) == pytest.approx((arrays["p"] * arrays["map"]).mean(), abs=1e-6)


def test_boundary_is_least_for_the_mask_itself():
    distance = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.0, 1.0]).reshape(1, 1, 1, 1, 6)
    exact = torch.where(distance <= 0, 50.0, -50.0)
    assert float(BoundaryLoss()(exact, distance)) == pytest.approx(-1 / 6)


def test_boundary_refuses_a_map_of_another_shape():
    with pytest.raises(ValueError, match=r"logits \(3, 1, 4, 5, 6\) and a map \(3, 2, 4, 5, 6\)"):
        BoundaryLoss()(torch.zeros(SHAPE), torch.zeros(3, 2, 4, 5, 6))


@pytest.mark.parametrize("alpha", [1.0, 0.6, 0.15, 0.0])
def test_hybrid_weighs_regional_and_boundary_part(arrays, alpha):
    expected = alpha * dice_formula(arrays["p"], arrays["mask"]) + (1 - alpha) * (arrays["p"] * arrays["map"]).mean()
    target = torch.cat([tensor(arrays["mask"]), tensor(arrays["map"])], dim=1)
    loss = HybridLoss(dice_loss(), alpha=alpha)(tensor(arrays["logits"]), target)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_hybrid_follows_a_change_of_alpha(arrays):
    loss = HybridLoss(dice_loss())
    loss.alpha = 0.0
    target = torch.cat([tensor(arrays["mask"]), tensor(arrays["map"])], dim=1)
    boundary = (arrays["p"] * arrays["map"]).mean()
    assert float(loss(tensor(arrays["logits"]), target)) == pytest.approx(boundary, abs=1e-5)


def test_hybrid_computes_half_precision_logits_in_single_precision(arrays):
    target = torch.cat([tensor(arrays["mask"]), tensor(arrays["map"])], dim=1)
    logits = tensor(arrays["logits"]).bfloat16()
    loss = HybridLoss(dice_loss(), alpha=0.5)
    assert torch.equal(loss(logits, target), loss(logits.float(), target))


def test_hybrid_names_the_transform_that_is_missing_from_a_target_of_one_channel():
    with pytest.raises(ValueError, match=r"got 1: add common.transforms.WithDistanceMapd"):
        HybridLoss(dice_loss())(torch.zeros(SHAPE), torch.zeros(SHAPE))


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan")])
def test_hybrid_refuses_an_alpha_that_is_no_weight(alpha):
    with pytest.raises(ValueError, match="between 0 and 1"):
        HybridLoss(dice_loss()).alpha = alpha
