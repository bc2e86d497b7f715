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


def both(channels: int, affine: bool) -> tuple[InstanceNorm, nn.InstanceNorm3d]:
    """Our layer and torch's, with the same weights."""
    ours, theirs = InstanceNorm(channels, affine=affine), nn.InstanceNorm3d(channels, affine=affine)
    for parameter in theirs.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.fixture(params=[False, True], ids=["", "affine"])
def affine(request):
    return request.param


@pytest.fixture(params=FORMATS.values(), ids=FORMATS)
def memory_format(request):
    return request.param


@pytest.mark.parametrize("grad", [False, True], ids=["evaluated", "trained"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_torchs(shape, memory_format, grad, affine):
    x = maps(shape, memory_format)
    ours, theirs = both(shape[1], affine)
    expected = theirs.double()(x.double()).float()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(ours(x.requires_grad_(grad)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("affine", "wanted"), [(False, True), (True, True), (True, False)], ids=["", "affine", "of the weights alone"]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_equals_torchs(shape, memory_format, affine, wanted):
    x, weight = maps(shape, memory_format), torch.randn(shape)
    ours, theirs = both(shape[1], affine)
    gradients = []
    for layer, dtype in ((ours, torch.float32), (theirs.double(), torch.float64)):
        leaf = x.to(dtype).clone().requires_grad_(wanted)
        (layer(leaf) * weight).sum().backward()
        gradients.append([t.grad.float() for t in (leaf, *layer.parameters()) if t.requires_grad])
    for got, expected in zip(*gradients, strict=True):
        addends = 1 if expected.dim() == 5 else x[:, 0].numel()  # of the sum in float32 that an element is
        torch.testing.assert_close(got, expected, atol=1e-4 + 1e-7 * addends, rtol=1e-5)


def test_gradient_is_that_of_finite_differences(memory_format, affine):
    x = torch.randn(2, 2, 2, 3, 2, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    layer = both(2, affine)[0].double()
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


def test_weights_of_torchs_layer_fit():
    ours, theirs = both(4, affine=True)
    assert isinstance(ours, nn.InstanceNorm3d) and ours.state_dict().keys() == theirs.state_dict().keys()


def test_does_not_overwrite_its_input_unless_told_to(memory_format):
    x = maps((2, 3, 4, 5, 6), memory_format)
    before = x.clone()
    InstanceNorm(3)(x)
    assert torch.equal(x, before)


def test_sums_of_large_maps_are_exact_enough_for_float32():
    x = 10 + torch.randn(1, 2, 97, 97, 97).contiguous(memory_format=torch.channels_last_3d)
    expected = F.instance_norm(x.double()).float()
    torch.testing.assert_close(InstanceNorm(2)(x), expected, atol=1e-5, rtol=1e-5)


def test_bfloat16_maps_have_statistics_of_float32(memory_format, affine):
    x = maps((1, 4, 24, 24, 24), memory_format, torch.bfloat16).requires_grad_()
    ours, theirs = both(4, affine)
    y, expected = ours(x), theirs.double()(x.double())
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.double(), expected, atol=2e-2, rtol=1e-2)
    y.float().square().sum().backward()
    assert x.grad.dtype is torch.bfloat16


@pytest.mark.parametrize("grad", [False, True], ids=["evaluated", "trained"])
def test_keeps_memory_format_and_type(memory_format, grad):
    x = MetaTensor(maps((2, 4, 3, 4, 5), memory_format, torch.bfloat16), meta={"case": "a"}).requires_grad_(grad)
    y = InstanceNorm(4)(x)
    assert y.is_contiguous(memory_format=memory_format) and y.dtype is torch.bfloat16
    assert isinstance(y, MetaTensor) and y.meta["case"] == "a"


def test_saves_its_input_and_two_numbers_per_map_for_the_gradient():
    saved = []
    x = maps((2, 3, 4, 5, 6), torch.channels_last_3d).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()), lambda t: t):
        InstanceNorm(3)(x)
    assert sum(saved) == x.numel() + 2 * 2 * 3


def test_leaves_the_input_alone_where_its_gradient_is_wanted(memory_format):
    x = maps((2, 3, 4, 5, 6), memory_format).requires_grad_()
    before = x.detach().clone()
    InstanceNorm(3)(x)
    assert torch.equal(x, before)


def test_needs_no_memory_for_maps_that_are_evaluated():
    x = maps((2, 3, 4, 5, 6), torch.channels_last_3d)
    assert InstanceNorm(3, inplace=True)(x).data_ptr() == x.data_ptr()


def test_refuses_maps_of_a_single_voxel_as_torch_does(memory_format):
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm(3)(maps((2, 3, 1, 1, 1), memory_format))


def test_compiles_to_torchscript_with_equal_numbers(memory_format, affine):
    x = maps((2, 3, 4, 5, 6), memory_format)
    ours, theirs = both(3, affine)
    torch.testing.assert_close(torch.jit.script(ours)(x), theirs(x))


def test_traces_to_torchs_own(memory_format):
    x = maps((2, 3, 4, 5, 6), memory_format)
    traced = torch.jit.trace(InstanceNorm(3), x)
    assert "instance_norm" in str(traced.graph)


@pytest.mark.parametrize("name", ["instance", "INSTANCE", ["instance", {"affine": True}]], ids=str)
def test_instance_normalization_of_a_config_is_the_quick_one(name):
    assert isinstance(norm_layer(name, 4), InstanceNorm)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        (["group", {"num_groups": 2}], nn.GroupNorm),
        ("batch", nn.BatchNorm3d),
    ],
    ids=str,
)
def test_other_normalizations_are_those_of_monai(norm, kind):
    assert isinstance(norm_layer(norm, 4), kind)
