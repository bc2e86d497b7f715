"""Strict import: what fits is mapped, what does not is refused with every fault named."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from common.checkpoints import UNET_KEYS, VNET_KEYS, MappedTensor, import_state_dict, rename_key
from common.networks import UNet3d, VNet

KEYS = ((r"^old_(\w+)\.", r"\1."),)


def network() -> nn.Sequential:
    net = nn.Sequential()
    net.add_module("conv", nn.Conv3d(1, 2, 1))
    net.add_module("norm", nn.BatchNorm3d(2))
    return net


def old_state() -> dict[str, torch.Tensor]:
    return {f"old_{key}": value for key, value in network().state_dict().items()}


def lightning_keys() -> dict[str, str]:
    """Published key, as a Lightning module stores it, to ours."""
    levels = {1: "encoder.0", 2: "encoder.1", 3: "encoder.2", 4: "encoder.3"}
    levels |= {5: "decoder.0", 6: "decoder.1", 7: "decoder.2"}
    keys = {"model.layer8.weight": "output.weight", "model.layer8.bias": "output.bias"}
    for n, level in levels.items():
        for step, conv in ((0, "conv1"), (2, "conv2")):
            for kind in ("weight", "bias"):
                keys[f"model.layer{n}.step.{step}.{kind}"] = f"{level}.{conv}.{kind}"
    return keys


VARIANTS = {
    "vnet_baseline": {},
    "vnet_bam": {"attention": True},
    "vnet_deep": {"num_layers": 2},
    "vnet_deep_bam": {"num_layers": 2, "attention": True},
    "vnet_baseline_elu": {"act": "ELU"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_keys_map_one_to_one_onto_the_v_net(shared_papers, variant):
    listing = json.loads((shared_papers / "vnet_left_atrium_state_dict.json").read_text())
    entries = listing["variants"][variant]["entries"]
    published = {rename_key(e["key"], VNET_KEYS): (e["shape"], f"torch.{e['dtype']}") for e in entries}
    ours = {key: (list(t.shape), str(t.dtype)) for key, t in VNet(**VARIANTS[variant]).state_dict().items()}
    assert published == ours and len(entries) == len(ours)


def test_published_keys_map_one_to_one_onto_the_u_net(shared_papers):
    listing = json.loads((shared_papers / "unet_liver_tumor_state_dict.json").read_text())["state_dict"]
    published = {rename_key(key, UNET_KEYS): (e["shape"], f"torch.{e['dtype']}") for key, e in listing.items()}
    ours = {key: (list(t.shape), str(t.dtype)) for key, t in UNet3d().state_dict().items()}
    assert published == ours and len(listing) == len(ours) == 30


def test_a_lightning_checkpoint_of_the_u_net_loads_without_its_loss():
    values = {key: torch.rand_like(value) for key, value in UNet3d().state_dict().items()}
    foreign = {value: key for key, value in lightning_keys().items()}
    net = UNet3d()
    import_state_dict({**{foreign[k]: v for k, v in values.items()}, "loss_fn.weight": torch.ones(3)}, net, UNET_KEYS)
    assert all(torch.equal(value, values[key]) for key, value in net.state_dict().items())


def test_reports_what_was_mapped():
    report = import_state_dict(old_state(), network(), KEYS)
    assert report[0] == MappedTensor("old_conv.weight", "conv.weight", (2, 1, 1, 1, 1))
    assert len(report) == 7


def test_loads_the_values():
    state, net = old_state(), network()
    import_state_dict(state, net, KEYS)
    assert all(torch.equal(value, state[f"old_{key}"]) for key, value in net.state_dict().items())


def test_names_the_first_five_faults_in_one_line_and_how_many_more_there_are():
    state = old_state()
    del state["old_conv.bias"]
    state["head.weight"] = torch.zeros(1)
    state["old_conv.weight"] = torch.zeros(2, 1, 3, 3, 3)
    state["old_norm.weight"] = torch.tensor([1.0, float("nan")])
    state["old_norm.bias"] = "zeros"
    state["old_norm.running_var"] = torch.ones(2, dtype=torch.int64)
    with pytest.raises(ValueError) as error:
        import_state_dict(state, network(), KEYS)
    assert str(error.value).split("options? ")[1].split("; ") == [
        "missing: conv.bias",
        "old_conv.weight (here conv.weight): shape (2, 1, 3, 3, 3), expected (2, 1, 1, 1, 1)",
        "old_norm.weight (here norm.weight): 1 values are not finite",
        "old_norm.bias (here norm.bias): a str, expected a tensor",
        "old_norm.running_var (here norm.running_var): torch.int64, expected torch.float32",
        "and 1 more",
    ]


def test_refuses_two_keys_for_one_tensor():
    state = old_state()
    state["conv.bias"] = state["old_conv.bias"]
    with pytest.raises(ValueError, match=r"2 keys for conv\.bias"):
        import_state_dict(state, network(), KEYS)


def test_leaves_the_network_unchanged_when_it_refuses():
    net = network()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="unknown: extra"):
        import_state_dict({**old_state(), "extra": torch.zeros(1)}, net, KEYS)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_says_that_the_variant_may_be_the_wrong_one():
    with pytest.raises(ValueError, match=r"do not fit VNet, \d+ faults; was it built with the same options"):
        import_state_dict(VNet(num_layers=2).state_dict(), VNet())
