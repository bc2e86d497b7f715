"""Several networks as one: the mean of their probabilities, in the form in which one answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from common.networks import EnsembleNetwork, OSSNet, OSSNetEnsemble


def ensemble(output: str, *factors: float) -> EnsembleNetwork:
    """Members that multiply their input by a factor."""
    network = EnsembleNetwork(nn.Conv3d(1, 1, 1, bias=False), len(factors), output=output)
    for member, factor in zip(network.members, factors, strict=True):
        nn.init.constant_(member.weight, factor)
    return network


class Channels(nn.Module):
    """Logits of three channels: twice the input, the input, and 0; times a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * torch.cat([2 * inputs, inputs, 0 * inputs], dim=1)


X = torch.linspace(-3, 3, 8).view(1, 1, 2, 2, 2)


@torch.no_grad()
def test_a_sigmoid_of_the_answer_is_the_mean_of_the_members_sigmoids() -> None:
    expected = (torch.sigmoid(X) + torch.sigmoid(-2 * X) + torch.sigmoid(3 * X)) / 3
    torch.testing.assert_close(torch.sigmoid(ensemble("sigmoid", 1, -2, 3)(X)), expected)


@torch.no_grad()
def test_a_softmax_of_the_answer_is_the_mean_of_the_members_softmaxes() -> None:
    network = EnsembleNetwork(Channels(), 2, output="softmax")
    network.members[1].factor.fill_(-4)
    logits = [Channels()(X), -4 * Channels()(X)]
    expected = (logits[0].softmax(dim=1) + logits[1].softmax(dim=1)) / 2
    torch.testing.assert_close(network(X).softmax(dim=1), expected)


@torch.no_grad()
def test_probabilities_are_averaged_as_they_are() -> None:
    torch.testing.assert_close(ensemble("probability", 1, 4)(X), 2.5 * X)


@torch.no_grad()
def test_one_member_answers_as_alone() -> None:
    torch.testing.assert_close(ensemble("sigmoid", 2)(X), 2 * X)


@torch.no_grad()
def test_sure_members_that_contradict_each_other_stay_finite() -> None:
    logits = ensemble("sigmoid", 1e4, -1e4)(X)
    torch.testing.assert_close(logits, torch.zeros_like(X), atol=1e-2, rtol=0)
    assert ensemble("sigmoid", 1e4, 1e4)(X).isfinite().all()


def test_members_are_copies_that_share_nothing() -> None:
    network = nn.Conv3d(1, 1, 1)
    members = EnsembleNetwork(network, 2, output="sigmoid").members
    assert len({id(p) for member in [*members, network] for p in member.parameters()}) == 6


@pytest.mark.parametrize(("count", "output"), [(0, "sigmoid"), (2, "logits")])
def test_an_ensemble_of_nothing_or_of_an_unknown_output_is_refused(count: int, output: str) -> None:
    with pytest.raises(ValueError, match=r"at least one|output must be one of"):
        EnsembleNetwork(nn.Identity(), count, output=output)


@torch.no_grad()
@pytest.mark.parametrize(("variant", "classes"), [("C", 1), ("A", 3), ("C", 3)])
def test_occupancy_is_averaged_point_by_point(variant: str, classes: int) -> None:
    settings = {"variant": variant, "channels": [4, 8], "low_shape": [2, 2, 2], "width": 16}
    torch.manual_seed(0)
    network = OSSNetEnsemble(OSSNet(1, classes, **settings), 2, output="sigmoid" if classes == 1 else "softmax").eval()
    for parameter in network.members[1].parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    volume, points = torch.randn(1, 16, 16, 16), torch.randint(0, 16, (5, 3))
    patches = network.local_patches(volume, network.means(volume), points)[None]
    scan = torch.randn(1, 1, 8, 8, 8)
    latents, coarse = network.encode(scan)

    def probability(logits: Tensor) -> Tensor:
        return logits.sigmoid() if classes == 1 else logits.softmax(dim=1)

    expected = []
    for member in network.members:
        codes, own = member.encode(scan)
        expected.append((member.decode(points[None], patches, codes), own))
    mean = sum(probability(logits) for logits, _ in expected) / 2
    torch.testing.assert_close(probability(network.decode(points[None], patches, latents)), mean)
    if variant == "C":
        torch.testing.assert_close(coarse.sigmoid(), sum(own.sigmoid() for _, own in expected) / 2)
    else:
        assert coarse is None
