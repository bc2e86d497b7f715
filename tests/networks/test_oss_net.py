"""OSSNet: parameter counts, and an independent, functional reference that reads the published key names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.checkpoints import OSS_NET_KEYS, import_state_dict, rename_key
from common.kernels import pooling
from common.networks import OSSNet
from common.networks.oss_net import encoder as encoder_file
from common.networks.oss_net.encoder import ResidualBlock
from common.networks.oss_net.observations import PATCH

LITS = {"in_channels": 1, "channels": (8, 16, 32, 64, 128), "low_shape": (8, 8, 8)}
COUNTS = {  # total, encoder, decoder; the specification's table 6.6
    ("BraTS", "O-Net"): (6_890_753, 907_421, 5_983_332),
    ("BraTS", "A"): (7_245_438, 907_421, 6_338_017),
    ("BraTS", "B"): (7_254_358, 907_421, 6_346_937),
    ("BraTS", "C"): (8_695_733, 2_357_716, 6_338_017),
    ("BraTS", "D"): (8_704_653, 2_357_716, 6_346_937),
    ("LiTS", "O-Net"): (9_057_237, 911_217, 8_146_020),
    ("LiTS", "A"): (9_409_177, 911_217, 8_497_960),
    ("LiTS", "B"): (9_409_520, 911_217, 8_498_303),
    ("LiTS", "C"): (10_866_490, 2_368_530, 8_497_960),
    ("LiTS", "D"): (10_866_833, 2_368_530, 8_498_303),
}
SMALL = {"in_channels": 2, "channels": (4, 6, 8), "low_shape": (2, 3, 2), "width": 16}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("data", "variant"), COUNTS)
def test_has_the_published_numbers_of_parameters(data, variant):
    with torch.device("meta"):
        network = OSSNet(variant=variant, **(LITS if data == "LiTS" else {}))
    assert (count(network), count(network.encoder), count(network.decoder)) == COUNTS[data, variant]


def published_names(network: nn.Module, skips: bool) -> dict[str, str]:
    """Our name -> published name, written down from the specification's list of sequential members."""
    blocks = {"conv1": "main_mapping.0", "norm1": "main_mapping.1", "act1": "main_mapping.2"}
    blocks |= {"conv2": "main_mapping.5", "norm2": "main_mapping.6", "skip": "residual_mapping"}
    blocks |= {"act": "final_activation"}
    decoder = {"linear1": "linear_layer_1", "linear2": "linear_layer_2", "act1": "activation"}
    decoder |= {"act": "final_activation", "norm1": "cnb_1", "norm2": "cnb_2"}
    patch = {"conv1": "0", "act1": "1", "conv2": "3", "act2": "4"}
    names = {}
    for key in network.state_dict():
        part, *rest = key.split(".")
        if rest[0] == "blocks":
            table = blocks if part == "encoder" else decoder
            rest = ["blocks", rest[1], table[rest[2]], *rest[3:]]
            if rest[2] in ("cnb_1", "cnb_2"):
                inner = rest[3]
                rest[3:4] = [f"linear_{inner}"] if inner in ("gamma", "beta") else ["normalization", inner]
        elif rest[0] == "skips":
            rest = ["output_mappings", rest[1], {"conv": "1", "norm": "2", "act": "3"}[rest[2]], *rest[3:]]
        elif rest[0] == "latent":
            rest = ["final_mapping", {"conv": "0", "norm": "1", "act": "2"}[rest[1]], *rest[2:]]
        elif rest[0] == "segmentation":
            rest = ["segmentation_mapping", "0", *rest[1:]]
        elif rest[0] == "patch_encoder":
            rest = ["patch_mapping", "mapping", patch[rest[1]], *rest[2:]]
        elif rest[0] == "shortcut":
            rest = ["blocks", "0", "residual_mapping", *rest[1:]]
        elif rest[0] == "output":
            rest = ["final_mapping", "0", *rest[1:]]
        if rest[-1] in ("numerator", "denominator"):
            rest[-1] = f"weight_{rest[-1]}"
        names[key] = ".".join([part, *rest])
    return names


def random_state(network: nn.Module) -> dict[str, Tensor]:
    """Values for every tensor that make all parts matter, under the published names."""
    state = {}
    for key, name in published_names(network, True).items():
        value = network.state_dict()[key]
        if key.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif key.endswith(("running_var", "norm.weight", "norm1.weight", "norm2.weight")):
            state[name] = torch.rand(value.shape) + 0.5
        elif key.endswith(("numerator", "denominator")):
            state[name] = value + 0.05 * torch.randn(value.shape)
        elif value.ndim > 1:
            state[name] = torch.randn(value.shape) / value[0].numel() ** 0.5
        else:
            state[name] = 0.3 * torch.randn(value.shape)
    return state


def reference(s: dict[str, Tensor], scan: Tensor, points: Tensor, patches: Tensor | None, low, train: bool):
    """The specification's section 6, line by line: probabilities (B, N, 1), latents, low-resolution probabilities."""

    def pau(name: str, x: Tensor) -> Tensor:
        a, b = s[f"{name}.weight_numerator"], s[f"{name}.weight_denominator"]
        bottom = 1 + b[0].abs() * x.abs() + b[1].abs() * x**2 + b[2].abs() * x.abs() ** 3 + b[3].abs() * x**4
        return (a[0] + a[1] * x + a[2] * x**2 + a[3] * x**3 + a[4] * x**4 + a[5] * x**5) / bottom

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = s[f"{name}.running_mean"].clone(), s[f"{name}.running_var"].clone()
        return F.batch_norm(x, mean, var, s.get(f"{name}.weight"), s.get(f"{name}.bias"), training=train)

    def conv(name: str, x: Tensor, padding: int) -> Tensor:
        return F.conv3d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), padding=padding)

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))

    blocks = [f"encoder.blocks.{i}" for i in range(9) if f"encoder.blocks.{i}.residual_mapping.weight" in s]
    x, skips = scan, []
    for i, block in enumerate(blocks):
        main = norm(f"{block}.main_mapping.1", conv(f"{block}.main_mapping.0", x, 1))
        main = F.avg_pool3d(pau(f"{block}.main_mapping.2", main), 2)
        main = norm(f"{block}.main_mapping.6", conv(f"{block}.main_mapping.5", main, 1))
        shortcut = F.avg_pool3d(conv(f"{block}.residual_mapping", x, 0), 2)
        x = pau(f"{block}.final_activation", main + shortcut)
        head = f"encoder.output_mappings.{i}"
        if f"{head}.1.weight" in s:
            out = norm(f"{head}.2", conv(f"{head}.1", F.adaptive_max_pool3d(x, low), 2))
            skips.append(pau(f"{head}.3", out))
    z = torch.cat(skips, dim=1) if skips else x
    z = pau("encoder.final_mapping.2", norm("encoder.final_mapping.1", conv("encoder.final_mapping.0", z, 2)))
    latents = z.flatten(2)
    coarse = torch.sigmoid(conv("encoder.segmentation_mapping.0", x, 2)) if skips else None

    batch, n = points.shape[:2]
    columns = [points.reshape(batch * n, 1, 3)]
    if patches is not None:
        features = patches.flatten(0, 1)
        for layer, act in ((0, 1), (3, 4)):
            features = pau(
                f"decoder.patch_mapping.mapping.{act}", conv(f"decoder.patch_mapping.mapping.{layer}", features, 3)
            )
        columns.append(features.reshape(batch * n, 1, 343))
    columns.append(latents[:, :1].repeat_interleave(n, dim=0))
    h = torch.cat(columns, dim=2)
    for i in range(5):
        block = f"decoder.blocks.{i}"
        condition = (latents[:, i + 1] if skips else latents[:, 0])[:, None]

        def cbn(name: str, x: Tensor, latent: Tensor = condition) -> Tensor:
            gamma = linear(f"{name}.linear_gamma", latent).repeat_interleave(n, dim=0)
            beta = linear(f"{name}.linear_beta", latent).repeat_interleave(n, dim=0)
            return gamma * norm(f"{name}.normalization", x) + beta

        main = pau(f"{block}.activation", cbn(f"{block}.cnb_1", linear(f"{block}.linear_layer_1", h)))
        main = cbn(f"{block}.cnb_2", linear(f"{block}.linear_layer_2", main))
        shortcut = linear(f"{block}.residual_mapping", h) if i == 0 else h
        h = pau(f"{block}.final_activation", main + shortcut)
    return torch.sigmoid(linear("decoder.final_mapping.0", h)).reshape(batch, n, 1), latents, coarse


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("variant", ["O-Net", "A", "B", "C", "D"])
def test_equals_the_wiring_of_the_specification(variant, train):
    network = OSSNet(variant=variant, **SMALL).train(train)
    state = random_state(network)
    import_state_dict(state, network, OSS_NET_KEYS)
    scan, points = torch.randn(2, 2, 16, 24, 16), torch.randint(0, 32, (2, 9, 3)).float()
    seen = {"O-Net": 0, "A": 2, "B": 4, "C": 2, "D": 4}[variant]
    patches = torch.randn(2, 9, seen, 7, 7, 7) if seen else None
    with torch.no_grad():
        latents, coarse = network.encode(scan)
        logits = network.decode(points, patches, latents)
        expected, expected_latents, expected_coarse = reference(state, scan, points, patches, (2, 3, 2), train)
    torch.testing.assert_close(latents, expected_latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.sigmoid(logits).transpose(1, 2), expected, atol=1e-5, rtol=1e-5)
    if coarse is None:
        assert expected_coarse is None
    else:
        torch.testing.assert_close(torch.sigmoid(coarse), expected_coarse, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["A", "D"])
def test_the_written_names_are_those_that_the_key_map_reads(variant):
    network = OSSNet(variant=variant, **SMALL)
    assert {rename_key(theirs, OSS_NET_KEYS): ours for ours, theirs in published_names(network, True).items()} == {
        key: key for key in network.state_dict()
    }


@pytest.mark.parametrize("variant", ["O-Net", "D"])
def test_every_parameter_gets_a_gradient(variant):
    network = OSSNet(variant=variant, **SMALL)
    network(torch.randn(2, 2, 32, 48, 32), torch.randint(0, 32, (2, 9, 3))).mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_a_training_step_gets_the_points_and_behind_them_the_auxiliary_segmentation():
    network = OSSNet(1, 3, channels=(4, 8), low_shape=(2, 3, 2), width=16).eval()
    volume, points = torch.randn(1, 1, 16, 24, 16), torch.randint(0, 16, (1, 9, 3))
    with torch.no_grad():
        both = network(volume, points)
        everywhere = network(volume)
        _, coarse = network.encode(F.avg_pool3d(volume, 2))
    z, y, x = points[0].T
    torch.testing.assert_close(both[..., :9], everywhere[:, :, z, y, x], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[..., 9:], coarse.flatten(2))
    assert everywhere.shape == (1, 3, 16, 24, 16) and both.shape == (1, 3, 9 + 2 * 3 * 2)


def test_starts_blind_to_the_latent_codes_of_the_normalizations():
    network, points = OSSNet(**SMALL).eval(), torch.rand(1, 9, 3)
    patches, latents = torch.randn(1, 9, 2, 7, 7, 7), torch.randn(1, 6, 12)
    other = torch.cat([latents[:, :1], torch.randn(1, 5, 12)], dim=1)
    with torch.no_grad():
        assert torch.equal(network.decode(points, patches, latents), network.decode(points, patches, other))


def test_the_plain_encoder_says_which_size_it_needs():
    with pytest.raises(ValueError, match=r"becomes \[2, 3, 2\], this one became \[2, 2, 2\]"):
        OSSNet(variant="A", **SMALL).encode(torch.zeros(1, 2, 16, 16, 16))


def test_the_skip_encoder_takes_any_size():
    latents, coarse = OSSNet(variant="C", **SMALL).eval().encode(torch.zeros(1, 2, 33, 16, 27))
    assert latents.shape == (1, 6, 12) and coarse.shape == (1, 1, 4, 2, 3)


def test_refuses_an_unknown_variant():
    with pytest.raises(ValueError, match="one of O-Net, A, B, C, D, got 'E'"):
        OSSNet(variant="E")


@pytest.mark.parametrize("depth", [16, 17, 19])
def test_a_block_by_slabs_equals_the_whole_block(monkeypatch, depth):
    block, x = ResidualBlock(2, 3).eval(), torch.randn(1, 2, depth, 6, 7)
    nn.init.normal_(block.norm1.bias), nn.init.normal_(block.norm2.bias)
    with torch.no_grad():
        expected, pieces = block.whole(x), []
        monkeypatch.setattr(encoder_file, "SLAB", 2 * 2 * 6 * 7)
        monkeypatch.setattr(block, "whole", lambda x, whole=block.whole: pieces.append(x.shape[2]) or whole(x))
        torch.testing.assert_close(block(x), expected, atol=1e-6, rtol=1e-6)
    assert len(pieces) > 3 and max(pieces) <= 13


@pytest.mark.parametrize("size", [(16, 16, 10), (8, 9, 7), (1, 3, 2)])
def test_pooling_cell_by_cell_equals_adaptive_pooling(size):
    x = torch.randn(2, 3, *size)
    assert torch.equal(pooling._by_cells(x, [8, 8, 5]), F.adaptive_max_pool3d(x, (8, 8, 5)))


def test_coordinates_keep_their_precision_in_bfloat16():
    network = OSSNet(variant="O-Net", **SMALL).eval()
    points, latents = torch.tensor([[[257.0, 0, 0], [256.0, 0, 0]]]), torch.randn(1, 1, 12)
    seen = []
    network.decoder.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        network.decode(points, None, latents)
    torch.testing.assert_close(seen[0][0, 0] - seen[0][0, 1], network.decoder.blocks[0].linear1.weight[:, 0])


def test_scripted_network_equals_the_eager_one():
    network, volume = OSSNet(variant="D", **SMALL).eval(), torch.randn(1, 2, 32, 48, 32)
    points = torch.randint(0, 32, (1, 9, 3))
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(volume, points), network(volume, points))


def test_the_patch_convolution_equals_a_convolution():
    conv = OSSNet(**SMALL).decoder.patch_encoder.conv1
    x = torch.randn(5, 2, PATCH, PATCH, PATCH)
    expected = F.conv3d(x, conv.weight, conv.bias, padding=3)
    torch.testing.assert_close(conv(x.flatten(1)), expected.flatten(1), atol=1e-5, rtol=1e-5)
