"""The bundles, and their configs as the benchmarks read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai.bundle import ConfigParser

from common.arguments import knows
from common.files import read_json

BUNDLES = Path(__file__).resolve().parent.parent / "bundles"


def bundle_names() -> list[str]:
    """Every bundle that can be trained, sorted."""
    return sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/train.json"))


def training_config(bundle: str, overlays: Sequence[str] = ()) -> ConfigParser:
    """A bundle's train.json with overlays merged onto it, and its metadata."""
    configs = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in ("train.json", *overlays)])
    parser.read_meta(str(configs / "metadata.json"))
    return parser


def inference_config(bundle: str, overlays: Sequence[str] = ()) -> ConfigParser:
    """A bundle's inference.json, with those values of overlays whose ids it has, and its metadata."""
    configs = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    parser.read_config(str(configs / "inference.json"))
    parser.read_meta(str(configs / "metadata.json"))
    for name in overlays:
        parser.update({key: value for key, value in read_json(configs / name).items() if knows(parser.get(), key)})
    return parser
