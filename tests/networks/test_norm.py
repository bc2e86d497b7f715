"""InstanceNorm against torch's, in both memory formats; what it is called by in configs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor, nn

from common.networks import InstanceNorm, norm_layer

SHAPES = [(2, 3, 4, 5, 6), (1, 16, 21, 20, 23), (3, 8, 1, 1, 2)]  # 9660 voxels: two sums each
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}


def maps(shape: tuple[int, ...], memory_format: torch.memory_format, dtype: torch.dtype = torch.float32) -> Tensor:
    """Maps of another mean and deviation in every channel."""
    x = torch.randn(shape) * (torch.rand(1, shape[1], 1, 1, 1) + 0.5) + torch.randn(1, shape[1], 1, 1, 1)
    return x.to(dtype).contiguous(memory_format=memory_format)


@pytest.fixture(params=FORMATS.values(), ids=FORMATS)
def memory_format(request):
    return request.param


@pytest.mark.parametrize("grad", [False, True], ids=["evaluated", "trained"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_torchs(shape, memory_format, grad):
    x = maps(shape, memory_format)
    expected = F.instance_norm(x.double()).float()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(InstanceNorm()(x.requires_grad_(grad)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_equals_torchs(shape, memory_format):
    x, weight = maps(shape, memory_format), torch.randn(shape)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (InstanceNorm()(ours) * weight).sum().backward()
    (F.instance_norm(theirs) * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


def test_gradient_is_that_of_finite_differences(memory_format):
    x = torch.randn(2, 2, 2, 3, 2, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(InstanceNorm(), (x,))


def test_sums_of_large_maps_are_exact_enough_for_float32():
    x = 10 + torch.randn(1, 2, 97, 97, 97).contiguous(memory_format=torch.channels_last_3d)
    expected = F.instance_norm(x.double()).float()
    torch.testing.assert_close(InstanceNorm()(x), expected, atol=1e-5, rtol=1e-5)


def test_bfloat16_maps_have_statistics_of_float32(memory_format):
    x = maps((1, 4, 24, 24, 24), memory_format, torch.bfloat16)
    expected = F.instance_norm(x.double())
    torch.testing.assert_close(InstanceNorm()(x).double(), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("grad", [False, True], ids=["evaluated", "trained"])
def test_keeps_memory_format_and_type(memory_format, grad):
    x = MetaTensor(maps((2, 4, 3, 4, 5), memory_format, torch.bfloat16), meta={"case": "a"}).requires_grad_(grad)
    y = InstanceNorm()(x)
    assert y.is_contiguous(memory_format=memory_format) and y.dtype is torch.bfloat16
    assert isinstance(y, MetaTensor) and y.meta["case"] == "a"


def test_saves_its_input_and_two_numbers_per_map_for_the_gradient():
    saved = []
    x = maps((2, 3, 4, 5, 6), torch.channels_last_3d).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()), lambda t: t):
        InstanceNorm()(x)
    assert sum(saved) == x.numel() + 2 * 2 * 3


def test_leaves_the_input_alone_where_its_gradient_is_wanted(memory_format):
    x = maps((2, 3, 4, 5, 6), memory_format).requires_grad_()
    before = x.detach().clone()
    InstanceNorm()(x)
    assert torch.equal(x, before)


def test_needs_no_memory_for_maps_that_are_evaluated():
    x = maps((2, 3, 4, 5, 6), torch.channels_last_3d)
    assert InstanceNorm()(x).data_ptr() == x.data_ptr()


def test_refuses_maps_of_a_single_voxel_as_torch_does(memory_format):
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm()(maps((2, 3, 1, 1, 1), memory_format))


def test_compiles_to_torchscript_with_equal_numbers(memory_format):
    x = maps((2, 3, 4, 5, 6), memory_format)
    torch.testing.assert_close(torch.jit.script(InstanceNorm())(x), F.instance_norm(x))


def test_traces_to_torchs_own(memory_format):
    x = maps((2, 3, 4, 5, 6), memory_format)
    traced = torch.jit.trace(InstanceNorm(), x)
    assert "instance_norm" in str(traced.graph)


@pytest.mark.parametrize("name", ["instance", "INSTANCE"])
def test_instance_normalisation_of_a_config_is_the_quick_one(name):
    assert isinstance(norm_layer(name, 4), InstanceNorm)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        (["group", {"num_groups": 2}], nn.GroupNorm),
        ("batch", nn.BatchNorm3d),
        (["instance", {"affine": True}], nn.InstanceNorm3d),
    ],
    ids=str,
)
def test_other_normalisations_are_those_of_monai(norm, kind):
    assert isinstance(norm_layer(norm, 4), kind)
