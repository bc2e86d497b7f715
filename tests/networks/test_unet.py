"""UNet3d against an independent, functional reference that reads the published key names."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.checkpoints import UNET_KEYS, import_state_dict
from common.networks import UNet3d

BLOCKS = {1: (1, 32), 2: (32, 64), 3: (64, 128), 4: (128, 256), 5: (384, 128), 6: (192, 64), 7: (96, 32)}


def published_state() -> dict[str, Tensor]:
    """Random weights under the published names, with the shapes of the specification's table."""
    state = {}
    for layer, (i, o) in BLOCKS.items():
        for step, inputs in ((0, i), (2, o)):
            state[f"layer{layer}.step.{step}.weight"] = torch.randn(o, inputs, 3, 3, 3) * (27 * inputs / 2) ** -0.5
            state[f"layer{layer}.step.{step}.bias"] = torch.randn(o) / 10
    return {**state, "layer8.weight": torch.randn(3, 32, 1, 1, 1), "layer8.bias": torch.randn(3)}


def reference(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The specification's table of stages, line by line."""

    def block(n: int, x: Tensor) -> Tensor:
        for step in (0, 2):
            name = f"layer{n}.step.{step}"
            x = F.relu(F.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
        return x

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)

    layer1 = block(1, x)
    layer2 = block(2, F.max_pool3d(layer1, 2, 2))
    layer3 = block(3, F.max_pool3d(layer2, 2, 2))
    layer4 = block(4, F.max_pool3d(layer3, 2, 2))
    layer5 = block(5, torch.cat([up(layer4), layer3], dim=1))
    layer6 = block(6, torch.cat([up(layer5), layer2], dim=1))
    layer7 = block(7, torch.cat([up(layer6), layer1], dim=1))
    return F.conv3d(layer7, state["layer8.weight"], state["layer8.bias"])


def test_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in UNet3d().parameters()) == 5_836_099


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_equals_the_wiring_of_the_specification(train):
    state, network, x = published_state(), UNet3d().train(train), torch.randn(2, 1, 16, 24, 32)
    import_state_dict(state, network, UNET_KEYS)
    with torch.no_grad():
        torch.testing.assert_close(network(x), reference(state, x), atol=1e-4, rtol=1e-4)


def test_every_parameter_gets_a_gradient():
    network = UNet3d()
    network(torch.randn(1, 1, 8, 8, 16)).mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_widths_channels_and_levels_are_arguments():
    network = UNet3d(in_channels=2, out_channels=5, channels=(4, 8, 12))
    assert network(torch.zeros(1, 2, 4, 8, 12)).shape == (1, 5, 4, 8, 12)
    assert network.decoder[0].conv1.weight.shape == (8, 12 + 8, 3, 3, 3)


def test_nearest_upsampling_repeats_the_voxels_of_the_bottom():
    network = UNet3d(out_channels=1, channels=(1, 1), upsample="nearest")
    received = []
    network.decoder[0].register_forward_pre_hook(lambda module, inputs: received.append(inputs[0][0, 0]))
    network(torch.randn(1, 1, 4, 4, 4))
    assert torch.equal(received[0][::2, ::2, ::2], received[0][1::2, 1::2, 1::2])


def test_normalization_follows_every_convolution_but_the_last():
    kinds = [type(m).__name__ for m in UNet3d(norm=["group", {"num_groups": 4}]).modules() if not list(m.children())]
    assert kinds.count("GroupNorm") == kinds.count("Conv3d") - 1 == 14
    assert all(after == "GroupNorm" for kind, after in pairwise(kinds) if kind == "Conv3d")


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 20), (1, 1, 15, 16, 16)])
def test_refuses_sides_that_are_no_multiple_of_8(shape):
    with pytest.raises(ValueError, match=r"multiple of 8, got \[.*pad it"):
        UNet3d()(torch.zeros(shape))


def test_scripted_network_still_names_the_wrong_sides():
    network = UNet3d(channels=(4, 8, 8, 8)).eval()
    with pytest.raises(torch.jit.Error, match=r"multiple of 8, got \[16, 16, 4\]"):
        torch.jit.script(network)(torch.zeros(1, 1, 16, 16, 4))
