"""Gradients of maps stored channels last."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.kernels import computes_in_bfloat16
from common.kernels.channels_last import dense_gradient
from common.networks import EfficientSegNet, ResidualUNet, UNet3d, VNet, Vox2VoxGenerator


def is_dense(gradient: Tensor) -> bool:
    return gradient.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dense", [False, True])
def test_a_part_of_a_larger_gradient_becomes_dense_and_stays_the_same(dense: bool) -> None:
    x = torch.randn(2, 3, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    skip = torch.randn(2, 5, 8, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    seen: list[Tensor] = []
    large = F.interpolate(x, scale_factor=2, mode="trilinear")
    large.grad_fn.register_prehook(lambda gradients: seen.append(gradients[0]))
    whole = torch.cat([dense_gradient(large) if dense else large, skip], dim=1)
    weight = torch.randn_like(whole)
    (gradient,) = torch.autograd.grad((whole * weight).sum(), x)
    assert is_dense(seen[0]) is dense
    leaf = x.detach().contiguous().requires_grad_()
    expected = F.interpolate(leaf, scale_factor=2, mode="trilinear")
    torch.testing.assert_close(gradient, torch.autograd.grad((expected * weight[:, :3]).sum(), leaf)[0])


def test_nothing_is_done_where_no_gradient_is_wanted_or_maps_are_contiguous() -> None:
    for x in (
        torch.ones(1, 2, 4, 4, 4, requires_grad=True),
        torch.ones(1, 2, 4, 4, 4).to(memory_format=torch.channels_last_3d),
    ):
        assert dense_gradient(x) is x


@pytest.mark.skipif(
    not computes_in_bfloat16(), reason="without bfloat16 instructions oneDNN gives maps in another memory format"
)
@pytest.mark.parametrize(
    "network",
    [
        UNet3d(channels=(16, 32)),
        ResidualUNet(channels=(16, 32)),
        EfficientSegNet(channels=(16, 32), fusion="concatenate", context=None),
    ],
    ids=["unet", "residual", "efficient"],
)
def test_the_upsampled_maps_of_decoders_get_dense_gradients(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    interpolate = F.interpolate

    def watched(*args, **kwargs) -> Tensor:
        maps = interpolate(*args, **kwargs)
        maps.grad_fn.register_prehook(lambda gradients: seen.append(gradients[0]))
        return maps

    monkeypatch.setattr(F, "interpolate", watched)
    network = network.to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.randn(1, 1, 32, 32, 32)).sum().backward()
    assert seen
    assert all(is_dense(gradient) for gradient in seen)


@pytest.mark.parametrize("channels", [1, 4])
def test_vnet_keeps_its_features_in_reduced_precision(channels: int) -> None:
    network, types = VNet(channels), []
    for block in (network.input, network.up16):
        block.register_forward_hook(lambda block, inputs, maps: types.append(maps.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.randn(1, channels, 16, 16, 16))
    assert types == [torch.bfloat16] * 2


def test_vox2vox_answers_in_the_format_that_its_discriminator_reads() -> None:
    network = Vox2VoxGenerator(4, 4, width=8).to(memory_format=torch.channels_last_3d).eval()
    image = torch.randn(1, 4, 64, 64, 64)
    answer = network(image.to(memory_format=torch.channels_last_3d))
    assert is_dense(answer)
    torch.testing.assert_close(answer.sum(dim=1), torch.ones(1, 64, 64, 64))
