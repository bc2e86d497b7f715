"""Names that are no UTF-8, through any bundle's commands: they survive in every report, or cost a line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel
import pytest

from tests.bundles.test_cohort import some_volumes

pytestmark = pytest.mark.slow_but_for("vox2vox")

ODD, BROKEN = (os.fsdecode(name) for name in (b"caf\xe9", b"bris\xe9"))  # Latin-1


def assert_quiet(text: str) -> None:
    assert "Traceback" not in text and "Logging error" not in text, text


def test_images_with_names_that_are_no_utf_8_are_predicted_under_these_names(
    bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path: Path
) -> None:
    channels = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    (volume, *_) = some_volumes(bundle, sample_data, channels["num_channels"])
    scans, out = tmp_path / ODD, tmp_path / "out"
    scans.mkdir()
    nibabel.save(volume, scans / f"{ODD}.nii.gz")
    (scans / f"{BROKEN}.NII.GZ").write_bytes((scans / f"{ODD}.nii.gz").read_bytes()[:1000])
    (scans / f"{BROKEN}.nrrd").symlink_to("nowhere")
    source = tmp_path / "list.txt"
    source.write_bytes(os.fsencode(str(scans)))
    paths = {"dataset_dir": source, "ckpt_dir": trained / "models", "output_dir": out}
    done = run_bundle(bundle, "run", "inference.json", "sample.json", device="cpu", num_workers=0, **paths)
    assert done.returncode == 1, done.stdout + done.stderr
    assert_quiet(done.stdout + done.stderr)
    assert "1 of 2 cases failed" in done.stderr
    assert "left out 1 (a link that leads nowhere)" in done.stdout
    assert {f"{ODD}_seg.nii.gz", "pictures"} <= set(os.listdir(out))
    assert os.listdir(out / "pictures") == [f"{ODD}.png"]
    assert os.fsencode(ODD) in (out / "costs.csv").read_bytes()
    (failure,) = json.loads((out / "failures.json").read_text())
    assert (failure["case"], failure["path"]) == (BROKEN, str(scans / f"{BROKEN}.NII.GZ"))


def test_a_data_set_in_a_folder_whose_name_is_no_utf_8_is_evaluated(
    bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path: Path
) -> None:
    folder, out = Path(shutil.copytree(sample_data, tmp_path / ODD)), tmp_path / "out"
    paths = {"dataset_dir": folder, "ckpt_dir": trained / "models", "output_dir": out, "cache_dir": tmp_path / "cache"}
    configs = ("train.json", "sample.json", "evaluate.json")
    done = run_bundle(bundle, "run", *configs, device="cpu", num_workers=0, subset="all", pictures=1, **paths)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_quiet(done.stdout + done.stderr)
    assert json.loads((out / "metrics.json").read_text())["cases"]
