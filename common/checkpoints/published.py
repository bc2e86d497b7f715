"""Which weights others have published, or have code to train: what configures a bundle as they were trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.checkpoints.efficient_seg_net import EFFICIENT_SEG_NET_KEYS, RESIDUAL_UNET_KEYS
from common.checkpoints.mapping import KeyMap
from common.checkpoints.oss_net import OSS_NET_KEYS
from common.checkpoints.unet import UNET_KEYS
from common.checkpoints.vnet import VNET_KEYS
from common.checkpoints.vox2vox import VOX2VOX_DISCRIMINATOR_KEYS, VOX2VOX_GENERATOR_KEYS

__all__ = ["KEY_MAPS", "PUBLISHED", "Published", "published_variant"]

KEY_MAPS: dict[str, KeyMap] = {
    "EfficientSegNet": EFFICIENT_SEG_NET_KEYS,
    "OSSNet": OSS_NET_KEYS,
    "ResidualUNet": RESIDUAL_UNET_KEYS,
    "UNet3d": UNET_KEYS,
    "VNet": VNET_KEYS,
    "Vox2VoxDiscriminator": VOX2VOX_DISCRIMINATOR_KEYS,
    "Vox2VoxGenerator": VOX2VOX_GENERATOR_KEYS,
}
"""From the published keys to ours, by the name of our network's class."""


@dataclass(frozen=True)
class Published:
    """One kind of published weights.

    Args:
        overlays: files of the bundle's configs/ that configure it as these weights need.
        overrides: what no overlay sets: id in the configs -> value.
        inference: what inference.json needs beside these: id -> value.
        network: id of the network in the configs.
        file: what the bundle calls a file of these weights.
        settings: makes, of what the checkpoint holds beside the weights, the values in plan.json that are not those of
            the configs; None for weights that nothing predicts with alone, beside which there is no plan.json.
    """

    overlays: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)
    network: str = "network_def"
    file: str = "model.pt"
    settings: Callable[[Mapping[str, Any]], dict[str, Any]] | None = lambda rest: {}


def _vnet_crop(rest: Mapping[str, Any]) -> dict[str, Any]:
    """Crop size and intensities of the original V-Net, which its checkpoints carry; without, those of each volume."""
    unknown = {"crop": "locator", "crop_size": [96, 144, 224], "intensity": "case"}
    if not {"patch_size", "mean", "std"} <= rest.keys():
        return unknown
    try:
        crop_size, mean, std = [int(n) for n in rest["patch_size"]], float(rest["mean"]), float(rest["std"])
    except (TypeError, ValueError):
        crop_size, mean, std = [], math.nan, math.nan
    if (
        len(crop_size) != 3
        or not all(n > 0 and n % 16 == 0 for n in crop_size)
        or not math.isfinite(mean)
        or not std > 0
    ):
        raise ValueError("patch_size, mean and std must be three multiples of 16, a number and a positive one")
    return {**unknown, "crop_size": crop_size, "intensity": "cohort", "mean": mean, "std": std}


def _oss_net() -> dict[str, Published]:
    variants = {}
    for letter in "abcd":
        variants[f"{letter}_bra_ts"] = Published((f"experiments/{letter}.json",))
        variants[f"{letter}_lits"] = Published(("lits.json", f"experiments/{letter}.json"))
    return variants


def _vnet() -> dict[str, Published]:
    attention = {n: f"experiments/{n + 1}_attention_dilation{n}_dice.json" for n in (3, 4)}
    deep = {"network_def#num_layers": 2}
    variants: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        "baseline": ((), {}),
        "baseline_elu": ((), {"network_def#act": "ELU"}),
        **{f"attention_dilation{n}": ((file,), {}) for n, file in attention.items()},
        "deep": ((), deep),
        **{f"deep_attention_dilation{n}": ((file,), deep) for n, file in attention.items()},
    }
    whole = {"roi_size": "$@recorded['crop_size']"}  # in one piece
    return {
        "locator": Published(("paper.json",), network="locator#network", file="locator.pt", settings=None),
        **{
            name: Published(("paper.json", *files), overrides=overrides, inference=whole, settings=_vnet_crop)
            for name, (files, overrides) in variants.items()
        },
    }


def _vox2vox() -> dict[str, Published]:
    """Of four channels to four maps, PyTorch's networks alone: the bundle has no such recipe to predict by."""
    one = ("one_channel_mr.json", "pytorch.json")
    judge = {"network": "discriminator_def", "file": "discriminator.pt", "settings": None}
    four = {"overlays": ("pytorch.json",), "overrides": {"network_def#out_channels": 4}}
    return {
        "tensorflow_generator": Published(("tensorflow.json",)),
        "tensorflow_discriminator": Published(("tensorflow.json",), **judge),
        "pytorch_generator_in1": Published(one),
        "pytorch_discriminator_in1": Published(one, **judge),
        "pytorch_generator_in4": Published(**four, settings=None),
        "pytorch_discriminator_in4": Published(**four, **judge),
    }


PUBLISHED: dict[str, dict[str, Published]] = {
    "efficient_seg_net": {
        "coarse": Published(network="coarse#network", file="coarse.pt", settings=None),
        # The limits on components' sizes that the published weights were scored with.
        "fine": Published(settings=lambda rest: {"min_size_unit": "upstream"}),
    },
    "oss_net": _oss_net(),
    "unet_liver_tumor": {"notebook": Published(("faithful.json",))},
    "vnet_left_atrium": _vnet(),
    "vox2vox": _vox2vox(),
}
"""By bundle and variant. OSS-Net's variants have the names of the published files: ``oss_net_<variant>.pt``."""


def published_variant(bundle: str, variant: str | None) -> Published:
    """A kind of published weights; the only one of the bundle where ``variant`` is None.

    Raises:
        ValueError: if there is none of this name, with the names that there are.
    """
    if bundle not in PUBLISHED:
        raise ValueError(f"{bundle}: no published weights are known for it; they are for {', '.join(PUBLISHED)}")
    variants = PUBLISHED[bundle]
    if variant is None and len(variants) == 1:
        (variant,) = variants
    if variant not in variants:
        raise ValueError(f"--variant {variant}: choose what {bundle} has: {', '.join(variants)}")
    return variants[variant]
