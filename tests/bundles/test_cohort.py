"""A cohort with bad volumes, through any bundle's inference command: the good ones are done, the bad ones are named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage

from common.datasets.layouts.registry import LAYOUTS
from common.files import files_of
from common.transforms import register_readers

pytestmark = pytest.mark.slow_but_for("vox2vox")

GOOD = [f"good{n}" for n in range(4)]
BAD = ["channels", "flat", "truncated"]


@dataclass
class Cohort:
    """What two runs left: the cohort with its bad volumes, and with those repaired and ``--skip_existing True``."""

    scans: Path
    out: Path
    first: dict
    second: dict
    expected: str  # channels


@pytest.fixture(scope="module")
def cohort(bundle: Path, sample_data: Path, trained: Path, run_bundle, tmp_path_factory) -> Cohort:
    scans = tmp_path_factory.mktemp(f"cohort_{bundle.name}")
    out = scans / "out"
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    channels = metadata["network_data_format"]["inputs"]["image"]["num_channels"]
    volumes = some_volumes(bundle, sample_data, channels)
    for n, name in enumerate(GOOD):
        nibabel.save(volumes[n % len(volumes)], scans / f"{name}.nii.gz")
    array = np.asarray(volumes[0].dataobj)
    wrong = np.stack([array.reshape(*array.shape[:3], -1)[..., 0]] * (channels + 1), axis=-1)
    nibabel.save(nibabel.Nifti1Image(wrong, volumes[0].affine), scans / "channels.nii.gz")
    nibabel.save(nibabel.Nifti1Image(array.reshape(*array.shape[:3], -1)[:, :, 0, 0], np.eye(4)), scans / "flat.nii.gz")
    whole = (scans / "good0.nii.gz").read_bytes()
    (scans / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])

    def run(**settings: object) -> dict:
        paths = {"dataset_dir": scans, "ckpt_dir": trained / "models", "output_dir": out}
        done = run_bundle(
            bundle, "run", "inference.json", "sample.json", device="cpu", num_workers=0, **paths, **settings
        )
        return {
            "code": done.returncode,
            "text": done.stdout + done.stderr,
            "failures": json.loads((out / "failures.json").read_text()),
            "files": {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.iterdir()},
        }

    first = run()
    for name in BAD:
        nibabel.save(volumes[0], scans / f"{name}.nii.gz")
    return Cohort(scans, out, first, run(skip_existing=True), str(channels))


def some_volumes(bundle: Path, sample_data: Path, channels: int) -> list[nibabel.Nifti1Image]:
    """The middle of phantoms, (X, Y, Z) or (X, Y, Z, channels), at most 48 voxels a side."""
    load = LoadImage(image_only=True, ensure_channel_first=True)
    register_readers(load)
    layout = json.loads((bundle / "configs/plan.json").read_text())["layout"]
    volumes = []
    for case in LAYOUTS[layout](sample_data).cases[:3]:
        files = [load(file) for file in files_of(case["image"])]
        image = files[0]
        middle = tuple(slice(max(0, n // 2 - 24), n // 2 + 24) for n in image.shape[1:])
        cut = np.concatenate([file[(slice(None), *middle)].numpy() for file in files])
        assert len(cut) == channels
        affine = image.affine.numpy() @ np.vstack([np.c_[np.eye(3), [s.start for s in middle]], [0, 0, 0, 1]])
        volumes.append(nibabel.Nifti1Image(cut[0] if channels == 1 else np.moveaxis(cut, 0, -1), affine))
    return volumes


def outputs(run: dict) -> list[str]:
    return sorted(name for name in run["files"] if name.endswith("_seg.nii.gz"))


def test_each_good_volume_has_an_output_and_each_bad_one_none_and_no_part_of_one(cohort: Cohort) -> None:
    expected = {"failures.json", "costs.csv", "costs.json", "pictures", *(f"{name}_seg.nii.gz" for name in GOOD)}
    assert set(cohort.first["files"]) == expected


def test_each_bad_volume_is_listed_with_its_file_and_the_reason(cohort: Cohort) -> None:
    failures = {failure["case"]: failure for failure in cohort.first["failures"]}
    assert sorted(failures) == BAD
    for name, failure in failures.items():
        assert failure["path"] == str(cohort.scans / f"{name}.nii.gz")
    assert re.search(rf"expected {cohort.expected}|the weights take {cohort.expected}", failures["channels"]["reason"])
    assert "not a 3-D volume" in failures["flat"]["reason"]


def test_the_exit_code_says_that_some_failed_and_after_repair_that_none_did(cohort: Cohort) -> None:
    assert cohort.first["code"] == 1, cohort.first["text"]
    assert cohort.second["code"] == 0, cohort.second["text"]
    assert cohort.second["failures"] == []


def test_outputs_are_whole_numbers_on_the_grid_of_their_volumes(cohort: Cohort) -> None:
    for name in GOOD:
        image, mask = nibabel.load(cohort.scans / f"{name}.nii.gz"), nibabel.load(cohort.out / f"{name}_seg.nii.gz")
        assert mask.shape == image.shape[:3]
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
        assert mask.get_data_dtype().kind == "u"


def test_skip_existing_leaves_what_is_there_and_does_only_what_is_missing(cohort: Cohort) -> None:
    kept = {name: cohort.first["files"][name] for name in outputs(cohort.first)}
    assert {name: cohort.second["files"][name] for name in kept} == kept
    assert set(outputs(cohort.second)) - set(kept) == {f"{name}_seg.nii.gz" for name in BAD}


def test_a_volume_has_the_same_output_whatever_was_wrong_beside_it(cohort: Cohort) -> None:
    masks = [np.asarray(nibabel.load(cohort.out / f"{name}_seg.nii.gz").dataobj) for name in ("good0", *BAD)]
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])
