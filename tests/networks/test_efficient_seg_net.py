"""EfficientSegNet and its coarse network against independent, functional references with the published key names."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.checkpoints import EFFICIENT_SEG_NET_KEYS, RESIDUAL_UNET_KEYS, import_state_dict
from common.networks import EfficientSegNet, ResidualUNet

WIDTHS = (2, 4, 8, 12, 16)  # narrow, for speed
DECODER = ("conv3_1", "conv2_2", "conv1_3", "conv0_4")
OPTIONS = [
    *({"encoder_block": kind} for kind in ("bottleneck", "depthwise_separable", "anisotropic")),
    *({"decoder_block": kind} for kind in ("basic", "bottleneck", "depthwise_separable")),
    *({"context": kind} for kind in (None, "pyramid", "strip", "anisotropic_max")),
    {"encoder_blocks": [1, 2, 3], "decoder_blocks": [2, 1]},
    {"fusion": "concatenate"},
    {"plane": "axial"},
]


class Reference:
    """The specification's section 6 with nothing but functions; makes up the weights as it meets their names."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def conv(self, name: str, x: Tensor, out: int, kernel: tuple[int, int, int], stride: int = 1) -> Tensor:
        shape = (out, x.shape[1], *kernel)
        weight = torch.randn(shape, dtype=torch.float64) * math.sqrt(2 / math.prod(shape[1:]))
        self.state[f"{name}.weight"] = weight
        return F.conv3d(x, weight, stride=stride, padding=tuple((k - 1) // 2 for k in kernel))

    def ci(self, name: str, x: Tensor, out: int, kernel: tuple[int, int, int] = (3, 3, 3), stride: int = 1) -> Tensor:
        y = self.conv(f"{name}.conv", x, out, kernel, stride)
        mean, var = y.mean((2, 3, 4), keepdim=True), y.var((2, 3, 4), keepdim=True, correction=0)
        return (y - mean) / torch.sqrt(var + 1e-5)

    def cir(self, *args, **kwargs) -> Tensor:
        return F.relu(self.ci(*args, **kwargs))


def up(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="trilinear", align_corners=True)


def twice(x: Tensor) -> Tensor:
    return up(x, torch.Size(2 * side for side in x.shape[2:]))


def coarse_reference(r: Reference, x: Tensor, channels: tuple[int, ...]) -> Tensor:
    features = []
    for level, c in enumerate(channels):
        name = f"conv{level}_0"
        x = F.max_pool3d(x, 3, 2, 1) if level else x
        main = r.ci(f"{name}.residual_unit_1.1", r.cir(f"{name}.residual_unit_1.0", x, c), c)
        x = F.relu(main + r.ci(f"{name}.shortcut_unit_1", x, c, (1, 1, 1)))
        x = F.relu(r.ci(f"{name}.residual_unit_2.1", r.cir(f"{name}.residual_unit_2.0", x, c), c) + x)
        features.append(x)
    for level, name in zip((3, 2, 1, 0), DECODER, strict=True):
        c = channels[level]
        x = torch.cat([features[level], twice(x)], dim=1)
        main = r.ci(f"{name}.residual_unit.1", r.cir(f"{name}.residual_unit.0", x, c), c)
        x = F.relu(main + r.ci(f"{name}.shortcut_unit", x, c, (1, 1, 1)))
    return r.conv("final", x, 4, (1, 1, 1))


def context_reference(r: Reference, x: Tensor) -> Tensor:
    name, size, (nz, ny, nx), c = "context_block", x.shape[2:], x.shape[2:], x.shape[1] // 4
    x0 = r.cir(f"{name}.trans_layer", x, c, (1, 1, 1))
    u, v = r.cir(f"{name}.conv1_1", x0, c, (1, 1, 1)), r.cir(f"{name}.conv1_2", x0, c, (1, 1, 1))
    a0 = r.ci(f"{name}.conv2_0", u, c)
    a1 = up(r.ci(f"{name}.conv2_1", F.avg_pool3d(u, 2), c), size)
    a2 = up(r.ci(f"{name}.conv2_2", F.avg_pool3d(u, 4), c), size)
    b1 = up(r.ci(f"{name}.conv2_3", F.avg_pool3d(v, (1, ny, nx)), c, (3, 1, 1)), size)
    b2 = up(r.ci(f"{name}.conv2_4", F.avg_pool3d(v, (nz, 1, nx)), c, (1, 3, 1)), size)
    b3 = up(r.ci(f"{name}.conv2_5", F.avg_pool3d(v, (nz, ny, 1)), c, (1, 1, 3)), size)
    a = r.cir(f"{name}.conv2_6", F.relu(a0 + a1 + a2), c)
    b = r.cir(f"{name}.conv2_7", F.relu(b1 + b2 + b3), c)
    y = F.relu(x0 + r.ci(f"{name}.conv3", torch.cat([a, b], dim=1), c, (1, 1, 1)))
    return r.conv(f"{name}.score_layer.1", r.cir(f"{name}.score_layer.0", y, c), 4 * c, (1, 1, 1))


def fine_reference(r: Reference, x: Tensor, channels: tuple[int, ...]) -> Tensor:
    features = []
    for level, c in enumerate(channels):
        for block, stride in ((0, 2 if level else 1), (1, 1)):
            name = f"conv{level}_0.{block}"
            main = r.cir(f"{name}.residual_unit.0", x, c, stride=stride)
            main = r.ci(f"{name}.residual_unit.1", main, c)
            x = F.relu(main + (r.ci(f"{name}.shortcut_unit", x, c, (1, 1, 1), stride) if block == 0 else x))
        features.append(x)
    x = context_reference(r, x)
    for level, name in zip((3, 2, 1, 0), DECODER, strict=True):
        c = channels[level]
        x = twice(r.cir(f"trans_{level + 1}", x, c, (1, 1, 1))) + features[level]
        main = r.cir(f"{name}.0.residual_unit.0", x, c, (3, 3, 1))
        main = r.ci(f"{name}.0.residual_unit.1", main, c, (1, 1, 3))
        x = F.relu(main + r.ci(f"{name}.0.shortcut_unit", x, c, (1, 1, 1)))
    return r.conv("final", x, 4, (1, 1, 1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d], ids=str)
@pytest.mark.parametrize(
    ("network", "reference", "key_map", "shape"),
    [
        (ResidualUNet, coarse_reference, RESIDUAL_UNET_KEYS, (2, 1, 32, 48, 16)),
        (EfficientSegNet, fine_reference, EFFICIENT_SEG_NET_KEYS, (1, 1, 64, 128, 64)),
    ],
    ids=["coarse", "fine"],
)
def test_equals_the_wiring_of_the_specification(network, reference: Callable, key_map, shape, memory_format):
    x, weights = torch.randn(shape, dtype=torch.float64), Reference()
    net = network(channels=WIDTHS).double().to(memory_format=memory_format).eval()
    with torch.no_grad():
        expected = reference(weights, x, WIDTHS)
        import_state_dict(weights.state, net, key_map)
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_choice_of_the_ablation_gives_every_parameter_a_gradient(options):
    network = EfficientSegNet(channels=(4, 8, 8), **options).to(memory_format=torch.channels_last_3d)
    logits = network(torch.randn(1, 1, 16, 16, 32))
    assert logits.shape == (1, 4, 16, 16, 32)
    logits.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_axial_blocks_have_their_kernel_within_the_slice_and_then_across_it():
    first, second = EfficientSegNet(channels=WIDTHS, plane="axial").decoder[0][0].main
    assert (first.conv.kernel_size, second.conv.kernel_size) == ((1, 3, 3), (3, 1, 1))


def test_blocks_are_counted_from_the_first_level():
    network = EfficientSegNet(channels=(4, 8, 8), encoder_blocks=[1, 2, 3], decoder_blocks=[4, 1], context=None)
    assert [len(stage) for stage in network.encoder] == [1, 2, 3]
    assert [len(stage) for stage in network.decoder] == [1, 4]  # from the bottom up


def test_context_block_looks_at_whole_axes_whatever_their_size():
    network = EfficientSegNet(channels=(2, 4), context="strip").eval()
    seen = []
    network.context.strips[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.context.strip_input.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(torch.randn(1, 1, 12, 20, 8))
    torch.testing.assert_close(seen[1], seen[0].mean((3, 4), keepdim=True))


def test_maxima_are_taken_over_the_halves_of_an_axis():
    network = EfficientSegNet(channels=(2, 4), context="anisotropic_max").eval()
    seen = []
    network.context.strips[2].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.context.strip_input.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(torch.randn(1, 1, 8, 16, 20))
    assert torch.equal(seen[1], F.max_pool3d(seen[0], (1, 1, 5)))


def test_maps_are_dropped_by_channel_in_training_only():
    network = ResidualUNet(channels=(64, 64))
    dropped = []
    network.encoder[0].units[0][0].act.register_forward_hook(
        lambda module, inputs, output: dropped.append(int((output.amax((2, 3, 4)) == 0).sum()))
    )
    x = torch.randn(16, 1, 4, 4, 4)
    network.train()(x)
    network.eval()(x)
    share = dropped[0] / (16 * 64)  # 0.2, give or take three standard deviations of a binomial share
    assert abs(share - 0.2) < 3 * math.sqrt(0.2 * 0.8 / (16 * 64))
    assert dropped[1] == 0


def test_convolutions_start_kaiming_normal():
    weight = EfficientSegNet().encoder[4][1].main[0].conv.weight.detach()
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (27 * 256)), rel=0.01)


@pytest.mark.parametrize(
    ("network", "shape", "wanted"),
    [
        (ResidualUNet, (16, 16, 16), "multiple of 16 and at least 16, one of them at least 32"),
        (ResidualUNet, (32, 32, 40), "multiple of 16"),
        (EfficientSegNet, (64, 64, 64), "multiple of 16 and at least 64, one of them at least 128"),
        (EfficientSegNet, (48, 128, 128), "at least 64"),
        (EfficientSegNet, (128, 128, 136), "multiple of 16"),
    ],
    ids=str,
)
def test_refuses_sides_that_do_not_fit(network, shape, wanted):
    with pytest.raises(ValueError, match=rf"{wanted}.*got \[{shape[0]}, {shape[1]}, {shape[2]}\]"):
        network(channels=WIDTHS)(torch.zeros(1, 1, *shape))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (16, 16, 32)),
        ({"context": "anisotropic_max"}, (16, 32, 16)),
        ({"context": "pyramid"}, (32, 16, 16)),
        ({"context": "strip"}, (8, 8, 8)),
        ({"context": None}, (4, 4, 8)),
    ],
    ids=str,
)
def test_takes_the_smallest_sides_that_it_asks_for(options, shape):
    network = EfficientSegNet(channels=(4, 8, 8), **options)
    assert network(torch.zeros(1, 1, *shape)).shape[2:] == shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_block": "dense"}, "basic, bottleneck, depthwise_separable, anisotropic, got 'dense'"),
        ({"context": "none"}, "context is one of .* or null for none, got 'none'"),
        ({"fusion": "sum"}, "fusion is one of add, concatenate, got 'sum'"),
        ({"plane": "coronal"}, "plane is one of sagittal, axial, got 'coronal'"),
        ({"encoder_blocks": [2, 2]}, "encoder_blocks: expected 5 numbers .* got \\[2, 2\\]"),
        ({"decoder_blocks": [1, 1, 1, 0]}, "decoder_blocks: expected 4 numbers of at least 1"),
    ],
    ids=str,
)
def test_refuses_unknown_choices(options, message):
    with pytest.raises(ValueError, match=message):
        EfficientSegNet(**options)


EXPORTED = {
    "coarse": (ResidualUNet, {}),
    "fine": (EfficientSegNet, {}),
    "max": (EfficientSegNet, {"context": "anisotropic_max"}),
    "strip": (EfficientSegNet, {"context": "strip", "fusion": "concatenate"}),
    "pyramid": (EfficientSegNet, {"context": "pyramid", "encoder_block": "depthwise_separable"}),
}


@pytest.fixture
def evaluated(request):
    """A network of three levels in evaluation mode, a volume, and its logits."""
    kind, options = EXPORTED[request.param]
    network, x = kind(channels=(4, 8, 8), **options).eval(), torch.randn(1, 1, 16, 16, 32)
    with torch.no_grad():
        return network, x, network(x)


@pytest.mark.parametrize("evaluated", EXPORTED, indirect=True)
def test_compiles_to_torchscript_with_equal_numbers(evaluated):
    network, x, expected = evaluated
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("evaluated", ["fine"], indirect=True)
def test_scripted_network_still_names_the_wrong_sides(evaluated):
    with pytest.raises(torch.jit.Error, match=r"multiple of 4 .* got \[16, 16, 8\]"):
        torch.jit.script(evaluated[0])(torch.zeros(1, 1, 16, 16, 8))


@pytest.mark.parametrize("evaluated", ["max", "strip"], indirect=True)  # the published ones: tests/bundles
@pytest.mark.slow
def test_exports_to_onnx_with_equal_numbers(evaluated, tmp_path):
    network, x, expected = evaluated
    torch.onnx.export(network, (x,), tmp_path / "net.onnx", dynamo=True, input_names=["image"], verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (logits,) = session.run(None, {"image": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)
