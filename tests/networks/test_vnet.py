"""VNet against an independent, functional reference that reads the published key names."""

from __future__ import annotations

import math

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.checkpoints import VNET_KEYS, import_state_dict
from common.networks import VNet

ENCODER = {"down_transition16": 16, "down_transition32": 32, "down_transition64": 64, "down_transition128": 128}
DECODER = {"up_transition128": (128, 64), "up_transition64": (128, 32), "up_transition32": (64, 16)}
DECODER["up_transition16"] = (32, 8)  # input channels, skip channels


def convolutions(block: str, n: int) -> int:
    return n + 1 if block.endswith(("64", "128")) else n


def published_state(n: int, *, attention: bool, channels: int = 1, maps: int = 1) -> dict[str, Tensor]:
    """Random weights under the published names, with the shapes of the specification's table.

    Several channels, which the paper lacks, have a projection beside the first convolution.
    """
    state: dict[str, Tensor] = {}

    def weights(name: str, *shape: int, bias: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
        state[f"{name}.bias"] = torch.randn(bias) / 4

    def slopes(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels) / 2

    def batch_norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels) + 0.5
        state[f"{name}.bias"] = torch.randn(channels) / 4
        state[f"{name}.running_mean"] = torch.randn(channels) / 4
        state[f"{name}.running_var"] = torch.rand(channels) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def gates(block: str, c: int) -> None:
        if not attention:
            return
        gate = f"{block}.att_module.channel_att.channel_gate"
        weights(f"{gate}.1", c // 4, c, bias=c // 4)
        batch_norm(f"{gate}.2", c // 4)
        weights(f"{gate}.4", c, c // 4, bias=c)
        gate = f"{block}.att_module.spatial_att.spatial_gate"
        weights(f"{gate}.0", c // 4, c, 1, 1, 1, bias=c // 4)
        for layer in (3, 6):
            weights(f"{gate}.{layer}", c // 4, c // 4, 3, 3, 3, bias=c // 4)
        for layer in (1, 4, 7):
            batch_norm(f"{gate}.{layer}", c // 4)
        weights(f"{gate}.9", 1, c // 4, 1, 1, 1, bias=1)

    def stage(block: str, c: int) -> None:
        for i in range(convolutions(block, n)):
            weights(f"{block}.ops.{i}.conv1", c, c, 5, 5, 5, bias=c)
            slopes(f"{block}.ops.{i}.relu1", c)

    weights("input_transition.conv1", 8, channels, 5, 5, 5, bias=8)
    if channels > 1:
        weights("input_transition.project", 8, channels, 1, 1, 1, bias=8)
    slopes("input_transition.relu1", 8)
    gates("input_transition", 8)
    for block, c in ENCODER.items():
        weights(f"{block}.down_conv", c, c // 2, 2, 2, 2, bias=c)
        slopes(f"{block}.relu1", c)
        stage(block, c)
        gates(block, c)
    for block, (c, skip) in DECODER.items():
        weights(f"{block}.up_conv", c, skip, 2, 2, 2, bias=skip)
        slopes(f"{block}.relu1", skip)
        slopes(f"{block}.relu2", 2 * skip)
        stage(block, 2 * skip)
    weights("out_transition.conv1", maps, 16, 1, 1, 1, bias=maps)
    slopes("out_transition.relu1", maps)
    return state


def reference(s: dict[str, Tensor], x: Tensor, n: int, *, attention: bool, d: int, d_att: int, train: bool) -> Tensor:
    """The specification's wiring (sections 7 and 7.1), with nothing but functions."""

    def layer(f, name: str, x: Tensor, **kwargs) -> Tensor:
        return f(x, s[f"{name}.weight"], s[f"{name}.bias"], **kwargs)

    def prelu(name: str, x: Tensor) -> Tensor:
        return F.prelu(x, s[f"{name}.weight"])

    def batch_norm(name: str, x: Tensor) -> Tensor:
        mean, var = s[f"{name}.running_mean"].clone(), s[f"{name}.running_var"].clone()
        return F.batch_norm(x, mean, var, s[f"{name}.weight"], s[f"{name}.bias"], training=train)

    def gates(block: str, x: Tensor) -> Tensor:
        if not attention:
            return x
        gate = f"{block}.att_module.channel_att.channel_gate"
        a = layer(F.linear, f"{gate}.1", x.mean(dim=(2, 3, 4)))
        a = layer(F.linear, f"{gate}.4", F.relu(batch_norm(f"{gate}.2", a)))
        c = x + x * torch.sigmoid(a)[:, :, None, None, None]
        gate = f"{block}.att_module.spatial_att.spatial_gate"
        a = F.relu(batch_norm(f"{gate}.1", layer(F.conv3d, f"{gate}.0", c)))
        for i in (3, 6):
            a = F.relu(batch_norm(f"{gate}.{i + 1}", layer(F.conv3d, f"{gate}.{i}", a, dilation=d_att, padding=d_att)))
        return x + (c + c * torch.sigmoid(layer(F.conv3d, f"{gate}.9", a)))

    def stage(block: str, x: Tensor, dilation: int) -> Tensor:
        for i in range(convolutions(block, n)):
            x = layer(F.conv3d, f"{block}.ops.{i}.conv1", x, dilation=dilation, padding=2 * dilation)
            x = prelu(f"{block}.ops.{i}.relu1", x)
        return x

    block = "input_transition"
    features = prelu(f"{block}.relu1", layer(F.conv3d, f"{block}.conv1", x, dilation=d, padding=2 * d))
    shortcut = layer(F.conv3d, f"{block}.project", x) if x.shape[1] > 1 else x
    levels = [gates(block, features) + shortcut]
    for block in ENCODER:
        down = prelu(f"{block}.relu1", layer(F.conv3d, f"{block}.down_conv", levels[-1], stride=2))
        levels.append(gates(block, stage(block, down, d)) + down)
    y = levels.pop()
    for block in DECODER:
        up = prelu(f"{block}.relu1", layer(F.conv_transpose3d, f"{block}.up_conv", y, stride=2))
        cat = torch.cat([up, levels.pop()], dim=1)
        y = stage(block, cat, 1) + cat
    return prelu("out_transition.relu1", layer(F.conv3d, "out_transition.conv1", y))


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 1},
        {"num_layers": 2},
        {"num_layers": 1, "conv_dilation": 2},
        {"num_layers": 1, "attention": True},
        {"num_layers": 2, "attention": True, "conv_dilation": 2, "attention_dilation": 3},
    ],
    ids=str,
)
def test_equals_the_wiring_of_the_specification(options, train):
    n, attention = options["num_layers"], options.get("attention", False)
    state = published_state(n, attention=attention)
    network = VNet(**options).train(train)
    import_state_dict(state, network, VNET_KEYS)
    x = torch.randn(2, 1, 32, 32, 32)
    with torch.no_grad():
        expected = reference(
            state,
            x,
            n,
            attention=attention,
            d=options.get("conv_dilation", 1),
            d_att=options.get("attention_dilation", 4),
            train=train,
        )
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "maps"), [(1, 4), (2, 1), (4, 8)])
def test_several_channels_are_projected_and_every_structure_has_a_map(channels: int, maps: int) -> None:
    state = published_state(1, attention=True, channels=channels, maps=maps)
    network = VNet(channels, maps, attention=True).eval()
    import_state_dict(state, network, VNET_KEYS)
    x = torch.randn(2, channels, 16, 32, 16)
    with torch.no_grad():
        expected = reference(state, x, 1, attention=True, d=1, d_att=4, train=False)
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 10_759_306),
        ({"in_channels": 4, "out_channels": 3}, 10_759_306 + 8 * 3 * 125 + 8 * (4 + 1) + 2 * (16 + 1 + 1)),
        ({"attention": True}, 10_850_389),
        ({"num_layers": 2}, 16_200_266),
        ({"num_layers": 2, "attention": True}, 16_291_349),
        ({"num_layers": 3}, 21_641_226),
        ({"num_layers": 3, "attention": True}, 21_732_309),
        ({"act": "ELU"}, 10_757_833),
    ],
    ids=str,
)
def test_has_the_published_number_of_parameters(options, parameters):
    assert sum(p.numel() for p in VNet(**options).parameters()) == parameters


def test_every_parameter_but_the_unused_activations_gets_a_gradient():
    network = VNet(attention=True)
    network(torch.randn(2, 1, 16, 16, 16)).mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == [f"up{c}.unused_act.weight" for c in (128, 64, 32, 16)]


def test_convolutions_start_xavier_normal_with_zero_bias():
    conv = (
        VNet().requires_grad_(False).down128.convs[0].conv
    )  # fan in = fan out = 128 * 125: standard deviation sqrt(2 / (2 * 16000))
    assert float(conv.weight.std()) == pytest.approx(1 / math.sqrt(16_000), rel=0.01)
    assert float(conv.bias.abs().max()) == 0.0


def test_normalization_follows_every_convolution_of_the_stages():
    network = VNet(norm=["group", {"num_groups": 4}])
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv3d | torch.nn.ConvTranspose3d)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(norms) == len(convolutions) - 1  # all but the output's


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 24), (1, 1, 15, 16, 16)])
def test_refuses_sides_that_are_no_multiple_of_16(shape):
    with pytest.raises(ValueError, match=r"multiple of 16, got \[.*pad it"):
        VNet()(torch.zeros(shape))


def test_refuses_a_network_without_channels():
    with pytest.raises(ValueError, match="got in_channels=0 and out_channels=1"):
        VNet(in_channels=0)


def test_refuses_to_train_attention_on_a_batch_of_one():
    with pytest.raises(ValueError, match="batch_size of at least 2"):
        VNet(attention=True)(torch.zeros(1, 1, 16, 16, 16))


@pytest.mark.parametrize("reduction", [0, 9])
def test_refuses_a_reduction_that_leaves_no_channel(reduction):
    with pytest.raises(ValueError, match="between 1 and the 8 channels"):
        VNet(attention=True, attention_reduction=reduction)


@pytest.fixture(params=[(1, 1, False), (1, 1, True), (4, 3, False)], ids=["plain", "attention", "channels"])
def evaluated(request):
    """A network in evaluation mode, a volume, and its logits."""
    channels, maps, attention = request.param
    network = VNet(channels, maps, attention=attention).eval()
    x = torch.randn(2, channels, 16, 32, 16)
    with torch.no_grad():
        return network, x, network(x)


def test_compiles_to_torchscript_with_equal_numbers(evaluated):
    network, x, expected = evaluated
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(x), expected)


def test_scripted_network_still_names_the_wrong_sides(evaluated):
    network, _, _ = evaluated
    with pytest.raises(torch.jit.Error, match=r"multiple of 16, got \[16, 16, 8\]"):
        torch.jit.script(network)(torch.zeros(1, network.input.conv.conv.in_channels, 16, 16, 8))


def test_traces_with_equal_numbers(evaluated):
    network, x, expected = evaluated
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.trace(network, x)(x), expected)


@pytest.mark.slow
def test_exports_to_onnx_with_equal_numbers(evaluated, tmp_path):
    network, x, expected = evaluated
    torch.onnx.export(network, (x,), tmp_path / "vnet.onnx", dynamo=True, input_names=["image"], verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "vnet.onnx")
    (logits,) = session.run(None, {"image": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)
