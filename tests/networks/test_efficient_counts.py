"""Parameters and multiply-accumulates of EfficientSegNet, its coarse network and its variants: the specification's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from common.networks import EfficientSegNet, ResidualUNet

WIDE = (16, 32, 64, 128, 256)
# Section 6.4 of the specification: parameters, and multiply-accumulates of the convolutions at 192^3 in 10^9.
VARIANTS = {
    "published": (EfficientSegNet, {}, 9_366_016, 357.66),
    "no context block": (EfficientSegNet, {"context": None}, 8_616_448, 356.78),
    "max-pool context": (EfficientSegNet, {"context": "anisotropic_max"}, 9_439_744, 357.69),
    "residual decoder": (EfficientSegNet, {"decoder_block": "basic"}, 10_279_936, 500.35),
    "anisotropic encoder": (EfficientSegNet, {"encoder_block": "anisotropic"}, 2_820_832, 108.63),
    "U-Net": (ResidualUNet, {"channels": WIDE}, 10_705_408, 688.88),
    "U-Net, 4-conv decoder": (ResidualUNet, {"channels": WIDE, "decoder_units": 2}, 11_880_448, 872.33),
}
# Section 6.1 and 6.2, line by line: parameters, and multiply-accumulates in 10^9.
COARSE_STAGES = {
    "encoder.0": (5_408, 22.151),
    "encoder.1": (24_320, 12.452),
    "encoder.2": (97_280, 6.226),
    "encoder.3": (389_120, 3.113),
    "encoder.4": (1_556_480, 1.556),
    "decoder.0": (454_656, 3.637),
    "decoder.1": (113_664, 7.274),
    "decoder.2": (28_416, 14.549),
    "decoder.3": (7_104, 29.098),
    "output": (32, 0.131),
}
FINE_STAGES = {
    "encoder.0": (21_184, 149.938),
    "encoder.1": (97_280, 86.067),
    "encoder.2": (389_120, 43.034),
    "encoder.3": (1_556_480, 21.517),
    "encoder.4": (6_225_920, 10.758),
    "context": (749_568, 0.877),
    "reduce.0": (32_768, 0.057),
    "decoder.0": (212_992, 2.944),
    "reduce.1": (8_192, 0.113),
    "decoder.1": (53_248, 5.889),
    "reduce.2": (2_048, 0.226),
    "decoder.2": (13_312, 11.778),
    "reduce.3": (512, 0.453),
    "decoder.3": (3_328, 23.555),
    "output": (64, 0.453),
}


def on_meta(network: type[nn.Module], **options) -> nn.Module:
    """The network without numbers: volumes of any size pass it at once."""
    with torch.device("meta"):
        return network(**options).eval()


def multiply_accumulates(network: nn.Module, side: int) -> dict[str, float]:
    """Of every convolution when a volume of side^3 voxels passes the network, in 10^9."""
    counts: dict[str, float] = {}

    def count(name: str, conv: nn.Conv3d, output: Tensor) -> None:
        counts[name] = output.numel() * conv.in_channels // conv.groups * math.prod(conv.kernel_size) / 1e9

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda conv, inputs, output, name=name: count(name, conv, output))
    network(torch.empty(1, 1, side, side, side, device="meta"))
    return counts


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_has_the_parameters_and_multiply_accumulates_of_the_specification(variant):
    kind, options, count, giga = VARIANTS[variant]
    network = on_meta(kind, **options)
    assert parameters(network) == count
    assert sum(multiply_accumulates(network, 192).values()) == pytest.approx(giga, abs=0.006)


@pytest.mark.parametrize(
    ("kind", "side", "stages"),
    [(ResidualUNet, 160, COARSE_STAGES), (EfficientSegNet, 192, FINE_STAGES)],
    ids=["coarse", "fine"],
)
def test_every_stage_has_the_parameters_and_multiply_accumulates_of_its_line(kind, side, stages):
    network = on_meta(kind)
    counts = multiply_accumulates(network, side)
    found = {}
    for name in stages:
        giga = sum(count for conv, count in counts.items() if conv.startswith(name))
        found[name] = (parameters(network.get_submodule(name)), round(giga, 3))
    assert found == stages
    assert parameters(network) == sum(count for count, _ in stages.values())  # 2,676,480 and 9,366,016


def test_coarse_network_has_the_parameters_and_multiply_accumulates_of_the_specification():
    network = on_meta(ResidualUNet)
    assert parameters(network) == 2_676_480
    assert sum(multiply_accumulates(network, 160).values()) == pytest.approx(100.19, abs=0.006)
