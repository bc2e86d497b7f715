"""Tensors of Vox2Vox's published codes against our networks, by the lists of the specification."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.checkpoints import (
    VOX2VOX_DISCRIMINATOR_KEYS,
    VOX2VOX_GENERATOR_KEYS,
    import_state_dict,
    keras_state_dict,
    rename_key,
)
from common.networks import Vox2VoxDiscriminator, Vox2VoxGenerator


def entries(papers: Path, variant: str) -> list[dict]:
    return json.loads((papers / "vox2vox_state_dict.json").read_text())["variants"][variant]["entries"]


def pytorch_generator(channels: int) -> Vox2VoxGenerator:
    return Vox2VoxGenerator(channels, channels, variant="pytorch", activation="tanh")


@pytest.mark.parametrize(
    ("variant", "network", "keys"),
    [
        ("pytorch_generator_in1_out1", lambda: pytorch_generator(1), VOX2VOX_GENERATOR_KEYS),
        ("pytorch_generator_in4_out4", lambda: pytorch_generator(4), VOX2VOX_GENERATOR_KEYS),
        (
            "pytorch_discriminator_in1",
            lambda: Vox2VoxDiscriminator(1, 1, variant="pytorch"),
            VOX2VOX_DISCRIMINATOR_KEYS,
        ),
        (
            "pytorch_discriminator_in4",
            lambda: Vox2VoxDiscriminator(4, 4, variant="pytorch"),
            VOX2VOX_DISCRIMINATOR_KEYS,
        ),
    ],
)
def test_published_keys_map_one_to_one(shared_papers, variant, network, keys):
    with torch.device("meta"):
        ours = {key: (list(t.shape), str(t.dtype)) for key, t in network().state_dict().items()}
    listing = entries(shared_papers, variant)
    published = {rename_key(e["key"], keys): (e["shape"], f"torch.{e['dtype']}") for e in listing}
    assert published == ours and len(listing) == len(ours)


def narrow(shape: list[int], width: int) -> list[int]:
    """A published shape for another base width: every multiple of 64 but the kernel's sides, 4."""
    return [n // 64 * width if n % 64 == 0 else n for n in shape]


@pytest.mark.parametrize(
    ("variant", "make"), [("generator", Vox2VoxGenerator), ("discriminator", Vox2VoxDiscriminator)]
)
def test_keras_lists_load_in_their_order(shared_papers, variant, make):
    listing = entries(shared_papers, f"tensorflow_{variant}")
    rng = np.random.default_rng(0)
    arrays = [rng.random(narrow(e["shape"], 4), dtype=np.float32) for e in listing]
    network = make(variant="tensorflow", width=4)
    import_state_dict(keras_state_dict(arrays, network), network)
    ours = list(network.state_dict().items())
    for e, array, (key, tensor) in zip(listing, arrays, ours, strict=True):
        kind = {"kernel": "conv.weight", "bias": "conv.bias", "gamma": "norm.weight", "beta": "norm.bias"}
        last = e["name"].split("/")[1].removesuffix(":0")
        assert key.endswith(kind[last].removeprefix("conv.") if "output" in e["name"] else kind[last])
        assert tensor.sum().item() == pytest.approx(array.sum(dtype=np.float64), rel=1e-4)


def test_a_keras_kernel_has_its_channels_last():
    network = Vox2VoxDiscriminator(variant="tensorflow", width=1)
    arrays = [np.zeros(t.shape, np.float32) for t in network.state_dict().values()]
    arrays[0] = np.zeros((4, 4, 4, 8, 1), np.float32)
    arrays[0][1, 2, 3, 5, 0] = 1
    kernel = keras_state_dict(arrays, network)["block1.conv.weight"]
    assert kernel.nonzero().tolist() == [[0, 5, 1, 2, 3]]


def test_keras_arrays_of_another_variant_are_refused():
    with pytest.raises(ValueError, match="2 arrays for the 16 tensors of a Vox2VoxDiscriminator: wrong variant"):
        keras_state_dict([np.zeros(1), np.zeros(1)], Vox2VoxDiscriminator(variant="tensorflow", width=1))
