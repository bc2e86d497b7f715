"""A packed run's metadata names the channels and structures that it was trained on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.packed_metadata import described_by
from tools.pipeline import BUNDLES

PLAN = {
    "reasons": {"spacing": "median"},
    "channels": ["T1w", "FLAIR"],
    "modality": "MR",
    "structures": {"Anterior": 1, "Posterior": 4},
    "label_values": [0, 1, 4],
    "window": None,
    "nonzero": True,
}


def metadata(bundle: str) -> dict[str, Any]:
    return json.loads((BUNDLES / bundle / "configs/metadata.json").read_text())


@pytest.mark.parametrize(
    ("bundle", "output", "names"),
    [
        ("unet_liver_tumor", "softmax", ["logit of background", "logit of Anterior", "logit of Posterior"]),
        ("efficient_seg_net", "sigmoid", ["logit of Anterior", "logit of Posterior"]),
        ("oss_net", "softmax", ["logit of background", "logit of Anterior", "logit of Posterior"]),
        ("vox2vox", "softmax", ["probability of background", "probability of Anterior", "probability of Posterior"]),
    ],
)
def test_channels_and_structures_are_the_plans_in_every_network(bundle: str, output: str, names: list[str]) -> None:
    plan = {**PLAN, "output": output} | ({"output_values": [[0], [1], [4]]} if bundle == "oss_net" else {})
    described = described_by(plan, metadata(bundle))
    for key in (key for key in described if key.endswith("_data_format")):
        image, pred = described[key]["inputs"]["image"], described[key]["outputs"]["pred"]
        assert (image["num_channels"], image["modality"], image["format"]) == (2, "MR", "magnitude")
        assert list(image["channel_def"]) == ["0", "1"] and image["channel_def"]["1"].startswith("FLAIR")
        assert (pred["num_channels"], list(pred["channel_def"].values())) == (len(names), names)
    assert described["label_classes"] == "one channel: 0 background, 1 Anterior, 4 Posterior"


def test_regions_are_named_with_all_their_values() -> None:
    regions = {"whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    plan = {**PLAN, "structures": regions, "label_values": [0, 1, 2, 3], "output": "sigmoid"}
    described = described_by({**plan, "output_values": [[1, 2, 3], [2, 3], [3]]}, metadata("oss_net"))
    pred = described["network_data_format"]["outputs"]["pred"]
    assert list(pred["channel_def"].values()) == ["logit of whole tumor", "logit of core", "logit of enhancing"]
    assert described["pred_classes"] == "one channel: 0 background, 1 or 2 or 3 whole tumor, 2 or 3 core, 3 enhancing"


def test_a_window_of_ct_is_told_with_the_range_of_values() -> None:
    ct = {**PLAN, "output": "softmax", "channels": ["CT"], "modality": "CT", "window": [-40, 155], "nonzero": False}
    image = described_by(ct, metadata("unet_liver_tumor"))["network_data_format"]["inputs"]["image"]
    assert (image["format"], image["value_range"]) == ("hounsfield", [-1, 1])
    assert image["channel_def"] == {"0": "CT, -40 to 155 HU rescaled"}


def test_the_papers_plan_leaves_the_metadata_as_it_is() -> None:
    paper = json.loads((BUNDLES / "unet_liver_tumor/configs/plan.json").read_text())
    assert described_by(paper, metadata("unet_liver_tumor")) == metadata("unet_liver_tumor")


def test_a_locator_takes_the_channels_and_answers_with_one_map_of_any_structure() -> None:
    plan = {**PLAN, "output": "softmax", "output_values": [[0], [1], [4]]}
    described = described_by(plan, metadata("vnet_left_atrium"))
    locator, network = described["locator_data_format"], described["network_data_format"]
    assert locator["inputs"]["image"]["num_channels"] == network["inputs"]["image"]["num_channels"] == 2
    assert locator["outputs"]["pred"]["channel_def"] == {"0": "logit of any structure"}
    assert network["outputs"]["pred"]["num_channels"] == 3
