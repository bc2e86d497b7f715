"""U-Net, EfficientSegNet and Vox2Vox on any channels and structures, regions, and voxels that nobody labeled."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.bundles.test_planned import SMALL
from tests.bundles.test_vnet_any_counts import SEVEN, TUMOR, nnunet

BUNDLES = Path(__file__).parents[2] / "bundles"
SPACING = {name: {"spacing": [2.0, 2.0, 2.0]} if "spacing" in SMALL[name] else {} for name in SMALL}


@pytest.mark.parametrize("name", ["unet_liver_tumor", "efficient_seg_net", "vox2vox"])
@pytest.mark.parametrize(
    ("channels", "structures", "ignore"),
    [(["CT"], {"organ": 1}, 5), pytest.param(["T1", "T2"], SEVEN, None, marks=pytest.mark.slow),
     pytest.param(["T1", "T1ce", "T2", "FLAIR"], TUMOR, 4, marks=pytest.mark.slow)],
    ids=["ct", "seven", "regions"],
)  # fmt: skip
def test_channels_and_structures_are_learned_and_named(
    name: str, channels: list[str], structures: dict[str, Any], ignore: int | None, run_bundle: Callable, tmp_path: Path
) -> None:
    data, bundle = nnunet(tmp_path / "data", channels, structures, ignore=ignore), BUNDLES / name
    common = {"dataset_dir": data, "ckpt_dir": tmp_path / "models", "device": "cpu", "num_workers": 0, "amp": False}
    short = {"epochs": 1, "val_interval": 1, "batch_size": 1, "cache_dir": tmp_path / "cache"}
    for stage in sorted((path.name for path in (bundle / "configs").glob("train*.json")), reverse=True):
        ids = json.loads((bundle / "configs" / stage).read_text())
        small = {key: value for key, value in (SMALL[name] | SPACING[name]).items() if key.split("#")[0] in ids}
        done = run_bundle(bundle, "training", stage, **common, output_dir=tmp_path / stage, **short, **small)
        assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "models/plan.json").read_text())
    assert (plan["channels"], plan["structures"], plan["ignore"]) == (channels, structures, ignore)
    width = {key: value for key, value in SMALL[name].items() if "network" in key}
    done = run_bundle(
        bundle, "run", "train.json", "evaluate.json", **common, **width, output_dir=tmp_path / "evaluation", pictures=1
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "evaluation/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["structure"] for row in rows] == list(structures)
    for row in rows:  # a bar is 20 x 3 x 20 voxels of 1 mm3; what nobody labeled is none
        own = structures[row["structure"]]
        assert float(row["volume_reference_mm3"]) == 1200 * (len(own) if isinstance(own, list) else 1)
    done = run_bundle(
        bundle,
        "run",
        "inference.json",
        **{**common, "dataset_dir": data / "imagesTr"},
        **width,
        output_dir=tmp_path / "p",
    )
    assert done.returncode == 0, done.stderr
    answers = {path.name[:6]: np.asarray(nib.load(path).dataobj) for path in (tmp_path / "p").glob("*.nii.gz")}
    assert len(answers) == 5
    assert {value for answer in answers.values() for value in np.unique(answer)} <= set(plan["label_values"])
    known = np.s_[:, :, : 44 if ignore is None else 34]
    for row in rows:  # measured is what is written
        written = np.isin(answers[row["case"]][known], structures[row["structure"]])
        assert float(row["volume_prediction_mm3"]) == np.count_nonzero(written)
