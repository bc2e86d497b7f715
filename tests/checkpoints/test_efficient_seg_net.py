"""Published EfficientSegNet checkpoints: every tensor has its place in our networks, in the same order."""

from __future__ import annotations

import json

import pytest
import torch

from common.checkpoints import EFFICIENT_SEG_NET_KEYS, RESIDUAL_UNET_KEYS, import_state_dict, rename_key
from common.networks import EfficientSegNet, ResidualUNet

NETWORKS = {"coarse": (ResidualUNet, RESIDUAL_UNET_KEYS, 38), "fine": (EfficientSegNet, EFFICIENT_SEG_NET_KEYS, 56)}


@pytest.fixture(params=NETWORKS)
def published(request, shared_papers):
    """Network, key map, number of tensors, and the published list of keys and shapes."""
    listing = json.loads((shared_papers / "efficient_seg_net_state_dict.json").read_text())
    return *NETWORKS[request.param], listing[request.param]["entries"]


@pytest.mark.parametrize("prefix", ["", "module."], ids=["one device", "several devices"])
def test_published_keys_map_one_to_one_and_in_order(published, prefix):
    network, key_map, tensors, entries = published
    found = [(rename_key(prefix + e["key"], key_map), e["shape"], f"torch.{e['dtype']}") for e in entries]
    ours = [(key, list(t.shape), str(t.dtype)) for key, t in network().state_dict().items()]
    assert found == ours and len(ours) == tensors


def test_a_published_checkpoint_loads(published):
    network, key_map, _, entries = published
    state = {f"module.{e['key']}": torch.full(e["shape"], float(n)) for n, e in enumerate(entries)}
    net = network()
    import_state_dict(state, net, key_map)
    assert [float(value.flatten()[0]) for value in net.state_dict().values()] == list(range(len(entries)))
