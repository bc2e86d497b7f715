"""The keys of OSS-Net's authors, for both data sets and every variant."""

from __future__ import annotations

import json

import pytest
import torch

from common.checkpoints import OSS_NET_KEYS, rename_key
from common.networks import OSSNet

DATA = {"BraTS": {}, "LiTS": {"in_channels": 1, "channels": (8, 16, 32, 64, 128), "low_shape": (8, 8, 8)}}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", ["O-Net", "OSS-Net A", "OSS-Net B", "OSS-Net C", "OSS-Net D"])
def test_published_keys_map_one_to_one(shared_papers, name, data):
    listing = json.loads((shared_papers / "oss_net_state_dict.json").read_text())["variants"][f"{name} | {data}"]
    published = {rename_key(key, OSS_NET_KEYS): (shape, f"torch.{kind}") for key, shape, kind in listing["entries"]}
    with torch.device("meta"):
        state = OSSNet(variant=name.removeprefix("OSS-Net "), **DATA[data]).state_dict()
    assert published == {key: (list(value.shape), str(value.dtype)) for key, value in state.items()}
    assert len(state) == listing["n_entries"]
