"""Weighted cross entropy as a config wires it from MONAI's Dice + cross entropy."""

from __future__ import annotations

import math

import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn


def cross_entropy(weights: list[float] | None) -> nn.Module:
    """The loss of a config whose class weights are a value of their own."""
    parser = ConfigParser(
        {
            "class_weights": weights,
            "loss": {
                "_target_": "DiceCELoss",
                "softmax": True,
                "to_onehot_y": True,
                "lambda_dice": 0.0,
                "weight": "$None if @class_weights is None else torch.tensor(@class_weights, dtype=torch.float32)",
            },
        }
    )
    return parser.get_parsed_content("loss")


@pytest.fixture
def unbalanced() -> tuple[Tensor, Tensor]:
    """Logits of three classes and a float label ``(2, 1, 6, 6, 6)``, mostly background."""
    label = torch.zeros(2, 1, 6, 6, 6)
    label[:, :, 3:] = 1
    label[:, :, 5, 5] = 2
    return torch.randn(2, 3, 6, 6, 6), label


@pytest.mark.parametrize("weights", [None, [1, 1, 3], [0.2, 5, 7]], ids=str)
def test_uniform_logits_give_ln_3(weights, unbalanced):
    logits, label = unbalanced
    assert float(cross_entropy(weights)(torch.zeros_like(logits), label)) == pytest.approx(math.log(3), rel=1e-6)


def test_is_the_weighted_mean_of_the_description(unbalanced):
    logits, label = unbalanced
    weight = torch.tensor([1.0, 1.0, 3.0])[label.long()]
    nll = -torch.log(torch.exp(logits).gather(1, label.long()) / torch.exp(logits).sum(1, keepdim=True))
    torch.testing.assert_close(cross_entropy([1, 1, 3])(logits, label), (weight * nll).sum() / weight.sum())


def test_doubled_weights_change_nothing(unbalanced):
    torch.testing.assert_close(cross_entropy([1, 1, 3])(*unbalanced), cross_entropy([2, 2, 6])(*unbalanced))


def test_differs_from_the_unweighted_one_when_classes_are_unbalanced(unbalanced):
    assert abs(float(cross_entropy([1, 1, 3])(*unbalanced) - cross_entropy(None)(*unbalanced))) > 1e-3
