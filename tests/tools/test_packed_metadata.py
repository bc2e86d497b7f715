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
        ("vox2vox", "softmax", ["probability of background", "probability of Anterior", "probability of Posterior"]),
    ],
)
def test_channels_and_structures_are_the_plans_in_every_network(bundle: str, output: str, names: list[str]) -> None:
    plan = {**PLAN, "output": output, "output_names": [name.split(" of ")[1] for name in names]}
    described = described_by(plan, metadata(bundle))
    for key in (key for key in described if key.endswith("_data_format")):
        image, pred = described[key]["inputs"]["image"], described[key]["outputs"]["pred"]
        assert (image["num_channels"], image["modality"], image["format"]) == (2, "MR", "magnitude")
        assert list(image["channel_def"]) == ["0", "1"] and image["channel_def"]["1"].startswith("FLAIR")
        assert (pred["num_channels"], list(pred["channel_def"].values())) == (len(names), names)
    assert described["label_classes"] == "one channel: 0 background, 1 Anterior, 4 Posterior"


def test_a_window_of_ct_is_told_with_the_range_of_values() -> None:
    ct = {
        **PLAN,
        "output": "softmax",
        "output_names": ["a", "b"],
        "channels": ["CT"],
        "modality": "CT",
        "window": [-40, 155],
        "nonzero": False,
    }
    image = described_by(ct, metadata("unet_liver_tumor"))["network_data_format"]["inputs"]["image"]
    assert (image["format"], image["value_range"]) == ("hounsfield", [-1, 1])
    assert image["channel_def"] == {"0": "CT, -40 to 155 HU rescaled"}


def test_the_papers_plan_leaves_the_metadata_as_it_is() -> None:
    paper = json.loads((BUNDLES / "unet_liver_tumor/configs/plan.json").read_text())
    assert described_by(paper, metadata("unet_liver_tumor")) == metadata("unet_liver_tumor")


def test_a_locator_takes_the_channels_and_answers_with_one_map_of_any_structure() -> None:
    plan = {**PLAN, "output": "sigmoid", "output_names": ["whole tumor", "tumor core"]}
    described = described_by(plan, metadata("vnet_left_atrium"))
    locator, network = described["locator_data_format"], described["network_data_format"]
    assert locator["inputs"]["image"]["num_channels"] == network["inputs"]["image"]["num_channels"] == 2
    assert locator["outputs"]["pred"]["channel_def"] == {"0": "logit of any structure"}
    assert list(network["outputs"]["pred"]["channel_def"].values()) == ["logit of whole tumor", "logit of tumor core"]
