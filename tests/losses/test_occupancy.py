"""The loss of OSS-Net against probabilities clamped and logarithms taken by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from common.losses import OccupancyLoss


def entropy(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(target * p.log() + (1 - target) * (1 - p).log()).mean()


def test_is_the_binary_cross_entropy_of_points_plus_a_tenth_of_the_auxiliary_one():
    logits, target = torch.randn(2, 1, 12, dtype=torch.float64), torch.rand(2, 1, 12).round().double()
    p = torch.sigmoid(logits)
    expected = entropy(p[..., :8], target[..., :8]) + 0.1 * entropy(p[..., 8:], target[..., 8:])
    assert OccupancyLoss(8)(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_probabilities_stay_a_millionth_away_from_0_and_1():
    loss, target = OccupancyLoss(2), torch.tensor([[[1.0, 0.0]]])
    assert loss(torch.tensor([[[-40.0, 40.0]]]), target).item() == pytest.approx(-math.log(1e-6), rel=1e-5)
    assert loss(torch.tensor([[[40.0, -40.0]]]), target).item() == pytest.approx(1e-6, abs=6e-8)  # float32 next to 1


def test_a_certain_mistake_gives_no_gradient_beyond_the_clamp():
    logits = torch.tensor([[[-40.0, -1.0]]], requires_grad=True)
    OccupancyLoss(2)(logits, torch.ones(1, 1, 2)).backward()
    assert logits.grad[0, 0, 0] == 0 and logits.grad[0, 0, 1] < 0


def test_without_auxiliary_segmentation_its_part_of_the_target_is_ignored():
    logits, target = torch.randn(2, 1, 8), torch.rand(2, 1, 12).round()
    assert OccupancyLoss(8)(logits, target) == OccupancyLoss(8)(logits, target[..., :8])


def test_classes_are_compared_by_cross_entropy_and_auxiliary_ones_each_on_its_own():
    logits, classes = torch.randn(2, 4, 12), torch.randint(0, 4, (2, 8))
    coarse = torch.rand(2, 4, 4).round()  # several classes in a voxel
    target = torch.cat([F.one_hot(classes, 4).transpose(1, 2), coarse], dim=2)
    expected = F.cross_entropy(logits[..., :8], classes) + 0.1 * F.binary_cross_entropy_with_logits(
        logits[..., 8:], coarse
    )
    assert OccupancyLoss(8, output="softmax")(logits, target.to(torch.uint8)).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_classes_stay_finite_when_the_network_is_certainly_wrong():
    logits = torch.tensor([[[100.0], [-100.0]]])
    loss = OccupancyLoss(1, output="softmax")(logits, torch.tensor([[[0.0], [1.0]]]))
    assert loss.item() == pytest.approx(-math.log(1e-6), rel=1e-5)


def test_says_when_logits_and_target_do_not_belong_together():
    with pytest.raises(ValueError, match=r"logits \(1, 1, 9\) and target \(1, 1, 12\) do not belong together"):
        OccupancyLoss(8)(torch.zeros(1, 1, 9), torch.zeros(1, 1, 12))


def test_regions_are_compared_each_on_its_own():
    logits, target = torch.randn(2, 3, 12, dtype=torch.float64), torch.rand(2, 3, 12).round().double()
    p = torch.sigmoid(logits)
    expected = entropy(p[..., :8], target[..., :8]) + 0.1 * entropy(p[..., 8:], target[..., 8:])
    assert OccupancyLoss(8)(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_what_is_not_known_counts_nowhere(output: str):
    logits = torch.randn(1, 3, 12, requires_grad=True)
    classes = F.one_hot(torch.randint(0, 3, (1, 12)), 3).transpose(1, 2).to(torch.uint8)
    kept = [0, 1, 2, 4, 5, 7, 8, 10]  # six points, and two voxels behind them
    target = classes.clone()
    target[..., [3, 6, 9, 11]] = 255
    loss = OccupancyLoss(8, output=output)(logits, target)
    alone = OccupancyLoss(6, output=output)(logits[..., kept], classes[..., kept])
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)
    loss.backward()
    assert not logits.grad[..., [3, 6, 9, 11]].any() and logits.grad[..., kept].all()


def test_a_case_of_which_nothing_is_known_costs_nothing():
    assert OccupancyLoss(4)(torch.randn(1, 1, 6), torch.full((1, 1, 6), 255, dtype=torch.uint8)) == 0
