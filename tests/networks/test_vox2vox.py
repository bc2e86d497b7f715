"""Vox2Vox's networks against independent, functional references written from the specification's tables."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.networks import Vox2VoxDiscriminator, Vox2VoxGenerator

WIDTH = 4
VARIANTS = ["paper", "tensorflow", "pytorch"]


class Weights:
    """Hands out a network's tensors in the order of its layers: kernel, bias, scale and shift as there are."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.tensors = iter(network.state_dict().values())

    def take(self, n: int) -> list[Tensor]:
        return [next(self.tensors) for _ in range(n)]

    def all_used(self) -> bool:
        return next(self.tensors, None) is None


def pytorch_generator(x: Tensor, weights: Weights) -> Tensor:
    """Section 5.1, line by line, dropout off."""

    def norm(x: Tensor) -> Tensor:
        mean, var = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(var + 1e-5)

    down1 = F.leaky_relu(F.conv3d(x, *weights.take(1), stride=2, padding=1), 0.2)
    down2 = F.leaky_relu(norm(F.conv3d(down1, *weights.take(1), stride=2, padding=1)), 0.2)
    down3 = F.leaky_relu(norm(F.conv3d(down2, *weights.take(1), stride=2, padding=1)), 0.2)
    x = F.leaky_relu(norm(F.conv3d(down3, *weights.take(1), stride=2, padding=1)), 0.2)
    for _ in range(4):
        x = F.leaky_relu(norm(F.conv3d(torch.cat([x, x], dim=1), *weights.take(1), padding=1)), 0.2)
        x = F.pad(x, (1, 0, 1, 0, 1, 0))
    for skip in (down3, down2, down1):
        x = F.relu(norm(F.conv_transpose3d(x, *weights.take(1), stride=2, padding=1)))
        x = torch.cat([x, skip], dim=1)
    return torch.tanh(F.conv_transpose3d(x, *weights.take(2), stride=2, padding=1))


def affine_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, var = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, unbiased=False)
    normal = (x - mean) / torch.sqrt(var + 1e-3)
    return normal * scale[:, None, None, None] + shift[:, None, None, None]


def keras_generator(x: Tensor, weights: Weights, *, variant: str) -> Tensor:
    """Section 5.3, line by line, dropout off; the bottleneck of the article's figure for the variant "paper"."""

    def same(x: Tensor) -> Tensor:  # one voxel before, two after
        return F.conv3d(F.pad(x, (1, 2, 1, 2, 1, 2)), *weights.take(2))

    def act(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.3)

    skip1 = act(F.conv3d(x, *weights.take(2), stride=2, padding=1))
    skip2 = act(affine_norm(F.conv3d(skip1, *weights.take(2), stride=2, padding=1), *weights.take(2)))
    skip3 = act(affine_norm(F.conv3d(skip2, *weights.take(2), stride=2, padding=1), *weights.take(2)))
    x = act(affine_norm(F.conv3d(skip3, *weights.take(2), stride=2, padding=1), *weights.take(2)))
    if variant == "tensorflow":
        for _ in range(4):
            y = same(x)
            x = torch.cat([act(affine_norm(y, *weights.take(2))), y], dim=1)
    else:
        before, x = x, act(affine_norm(same(x), *weights.take(2)))
        for _ in range(3):
            before, x = x, act(affine_norm(same(torch.cat([before, x], dim=1)), *weights.take(2)))
    for skip in (skip3, skip2, skip1):
        x = act(affine_norm(F.conv_transpose3d(x, *weights.take(2), stride=2, padding=1), *weights.take(2)))
        x = torch.cat([x, skip], dim=1)
    return torch.softmax(F.conv_transpose3d(x, *weights.take(2), stride=2, padding=1), dim=1)


def keras_discriminator(segmentation: Tensor, volume: Tensor, weights: Weights, *, variant: str) -> Tensor:
    """Section 5.4, line by line, dropout off; its earlier version for the variant "paper"."""
    x = F.leaky_relu(F.conv3d(torch.cat([segmentation, volume], 1), *weights.take(2), stride=2, padding=1), 0.3)
    for _ in range(2):
        x = F.leaky_relu(affine_norm(F.conv3d(x, *weights.take(2), stride=2, padding=1), *weights.take(2)), 0.3)
    if variant == "tensorflow":
        x = F.conv3d(F.pad(x, (1,) * 6), *weights.take(2))
        x = F.leaky_relu(affine_norm(x, *weights.take(2)), 0.3)
        return F.conv3d(F.pad(x, (1,) * 6), *weights.take(2))
    x = F.leaky_relu(affine_norm(F.conv3d(x, *weights.take(2), stride=2, padding=1), *weights.take(2)), 0.3)
    return F.conv3d(F.pad(x, (1, 2, 1, 2, 1, 2)), *weights.take(2))


def pytorch_discriminator(segmentation: Tensor, volume: Tensor, weights: Weights) -> Tensor:
    """Section 5.2, line by line."""
    x = torch.cat([segmentation, volume], dim=1)
    for n in range(4):
        x = F.conv3d(x, *weights.take(2), stride=2, padding=1)
        x = F.leaky_relu(x if n == 0 else F.instance_norm(x, eps=1e-5), 0.2)
    return F.conv3d(F.pad(x, (1, 0, 1, 0, 1, 0)), *weights.take(1), padding=1)


def randomized(network: torch.nn.Module) -> torch.nn.Module:
    """Every tensor random: zeros and ones would hide a bias or a scale in the wrong place."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5 if parameter.ndim == 5 else 0.5)
    return network.eval()


def generator(variant: str, *, channels: int = 4, width: int = 64) -> Vox2VoxGenerator:
    activation = "tanh" if variant == "pytorch" else "softmax"
    return Vox2VoxGenerator(channels, channels, variant=variant, width=width, activation=activation)


@pytest.mark.parametrize(
    ("variant", "channels", "parameters"),
    [
        ("pytorch", 1, 137_900_033),
        ("pytorch", 4, 137_936_900),
        ("tensorflow", 4, 150_530_052),
        # as "tensorflow", but the decoder starts from 512 channels instead of 1024: 512 * 256 * 4^3 fewer
        ("paper", 4, 150_530_052 - 8_388_608),
    ],
)
def test_generator_has_the_number_of_parameters_of_its_specification(variant, channels, parameters):
    with torch.device("meta"):
        network = generator(variant, channels=channels)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("variant", "channels", "parameters"),
    [("pytorch", 1, 11_051_968), ("pytorch", 4, 11_076_544), ("tensorflow", 4, 11_078_337), ("paper", 4, 11_078_337)],
)
def test_discriminator_has_the_number_of_parameters_of_its_specification(variant, channels, parameters):
    with torch.device("meta"):
        network = Vox2VoxDiscriminator(channels, channels, variant=variant)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_generator_gives_four_maps_of_128_from_four_volumes_of_128(variant):
    with torch.device("meta"):
        output = generator(variant)(torch.zeros(1, 4, 128, 128, 128))
    assert output.shape == (1, 4, 128, 128, 128)


@pytest.mark.parametrize(("variant", "side"), [("paper", 8), ("tensorflow", 14), ("pytorch", 8)])
def test_discriminator_scores_regions(variant, side):
    with torch.device("meta"):
        pair = torch.zeros(1, 4, 128, 128, 128)
        output = Vox2VoxDiscriminator(variant=variant)(pair, pair)
    assert output.shape == (1, 1, side, side, side)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("variant", VARIANTS)
def test_generator_equals_the_wiring_of_the_specification(variant, memory_format):
    network, x = randomized(generator(variant, width=WIDTH)), torch.randn(2, 4, 48, 64, 48)
    network, weights = network.to(memory_format=memory_format), Weights(network)
    with torch.no_grad():
        if variant == "pytorch":
            expected = pytorch_generator(x, weights)
        else:
            expected = keras_generator(x, weights, variant=variant)
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)
    assert weights.all_used()


@pytest.mark.parametrize("variant", VARIANTS)
def test_discriminator_equals_the_wiring_of_the_specification(variant):
    network = randomized(Vox2VoxDiscriminator(2, 3, variant=variant, width=WIDTH))
    segmentation, volume = torch.randn(2, 3, 32, 48, 64), torch.randn(2, 2, 32, 48, 64)
    weights = Weights(network)
    with torch.no_grad():
        if variant == "pytorch":
            expected = pytorch_discriminator(segmentation, volume, weights)
        else:
            expected = keras_discriminator(segmentation, volume, weights, variant=variant)
        torch.testing.assert_close(network(segmentation, volume), expected, atol=1e-5, rtol=1e-5)
    assert weights.all_used()


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        (lambda: generator("paper", width=1), ["bottleneck.b1", "bottleneck.b2", "bottleneck.b3", "bottleneck.b4"]),
        (lambda: generator("pytorch", width=2), ["bottleneck.b1", "bottleneck.b2", "bottleneck.b3", "bottleneck.b4"]),
        (lambda: generator("tensorflow", width=1), ["down1", "down2", "down3", "up1", "up2", "up3"]),
        (lambda: Vox2VoxDiscriminator(width=1), []),
        (lambda: Vox2VoxDiscriminator(width=1, variant="pytorch"), []),
        (lambda: Vox2VoxDiscriminator(width=1, variant="tensorflow"), ["block1", "block2", "block3"]),
    ],
)
def test_a_fifth_is_dropped_where_the_specification_says(network, blocks):
    dropouts = {name: m.p for name, m in network().named_modules() if isinstance(m, torch.nn.Dropout)}
    assert dropouts == {f"{block}.dropout": 0.2 for block in blocks}


def test_skips_are_taken_after_dropout_in_the_tensorflow_variant():
    network = generator("tensorflow", width=2).train()
    received = {}
    network.down1.register_forward_hook(lambda module, inputs, output: received.update(skip=output))
    network.up3.register_forward_pre_hook(lambda module, inputs: received.update(used=inputs[1]))
    network(torch.randn(1, 4, 32, 32, 32))
    assert torch.equal(received["skip"], received["used"]) and (received["skip"] == 0).float().mean() > 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_of_the_generator_gets_a_gradient(variant):
    network = generator(variant, width=2)
    network(torch.randn(1, 4, 48, 48, 48))[:, 0].mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("activation", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1)])
def test_a_single_map_lies_in_the_range_of_its_activation(activation, low, high):
    network = randomized(Vox2VoxGenerator(1, 1, width=2, activation=activation))
    output = network(100 * torch.randn(1, 1, 32, 32, 32))
    assert low <= output.min() < output.max() <= high and output.max() - output.min() > 0.9 * (high - low)


def test_softmax_is_computed_in_single_precision_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = generator("paper", width=2)(torch.randn(1, 4, 32, 32, 32))
    assert output.dtype is torch.float32
    torch.testing.assert_close(output.sum(dim=1), torch.ones(1, 32, 32, 32), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("variant", "shape", "message"),
    [
        ("paper", (48, 48, 40), r"multiple of 16 and at least 32, got \[48, 48, 40\].*pad it"),
        ("paper", (48, 16, 48), r"multiple of 16 and at least 32, got \[48, 16, 48\]"),
        ("pytorch", (32, 48, 48), r"multiple of 16 and at least 48, got \[32, 48, 48\]"),
    ],
)
def test_generator_refuses_sides_that_it_cannot_halve(variant, shape, message):
    with pytest.raises(ValueError, match=message):
        generator(variant, width=1 if variant == "paper" else 2)(torch.zeros(1, 4, *shape))


def test_scripted_generator_still_names_the_wrong_sides():
    with pytest.raises(torch.jit.Error, match=r"multiple of 16 and at least 32, got \[32, 32, 24\]"):
        torch.jit.script(generator("paper", width=1).eval())(torch.zeros(1, 4, 32, 32, 24))


@pytest.mark.parametrize("variant", VARIANTS)
def test_scripted_generator_computes_the_same(variant):
    network, x = randomized(generator(variant, width=2)), torch.randn(1, 4, 48, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(x), network(x), atol=1e-6, rtol=1e-6)


def test_discriminator_refuses_sides_that_it_cannot_halve():
    pair = torch.zeros(1, 4, 32, 32, 24)
    with pytest.raises(ValueError, match=r"multiple of 16 and at least 32, got \[32, 32, 24\]"):
        Vox2VoxDiscriminator(width=1)(pair, pair)


@pytest.mark.parametrize("network", [Vox2VoxGenerator, Vox2VoxDiscriminator])
def test_an_unknown_variant_is_refused_with_those_there_are(network):
    with pytest.raises(ValueError, match="one of paper, tensorflow, pytorch, got 'keras'"):
        network(variant="keras")


def test_an_unknown_activation_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="one of softmax, sigmoid, tanh, got 'relu'"):
        Vox2VoxGenerator(activation="relu")


def test_a_softmax_over_one_map_is_refused():
    with pytest.raises(ValueError, match="softmax over one map is 1 everywhere"):
        Vox2VoxGenerator(1, 1)


@pytest.mark.parametrize(("variant", "std"), [("pytorch", 0.02), ("paper", (2 / (16 * 64)) ** 0.5)])
def test_weights_start_with_the_standard_deviation_of_the_variant(variant, std):
    kernel = generator(variant, width=8).down3.conv.weight  # 16 channels in
    assert float(kernel.detach().std()) == pytest.approx(std, rel=0.02)
