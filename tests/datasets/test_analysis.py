"""The analysis of a data set: millimeters that are right on any grid, and numbers that follow from them."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.datasets.__main__ import analyze as command
from common.datasets.analysis import analyze, table
from common.datasets.analysis_summary import suggest, summarize_cases
from common.datasets.case_measures import measure_case, measure_labels
from common.datasets.errors import DataError

TURN = Rotation.from_euler("xyz", (0.3, -0.2, 0.25)).as_matrix()
HALF_AXES = (24.0, 15.0, 9.0)  # mm, to the right, the front and the head
PLACE = (5.0, -8.0, 3.0)  # mm from the middle of the volume
SPACING = (1.9, 1.1, 0.8)  # mm along the array's axes (z, y, x)


def grid(turn: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Affine of an array (D, H, W) whose axes point to the head, the front and the right, but for ``turn``; origin 0 in
    the volume's middle."""
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, ::-1] * SPACING
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def ball(affine: np.ndarray, shape: tuple[int, ...], *, center: tuple, half: tuple) -> np.ndarray:
    """An ellipsoid along the patient's axes."""
    voxels = np.indices(shape).reshape(3, -1)
    mm = affine[:3, :3] @ voxels + affine[:3, 3:]
    inside = (((mm.T - center) / half) ** 2).sum(1) <= 1
    return inside.reshape(shape)


@pytest.fixture(params=[np.eye(3), TURN], ids=["straight", "oblique"])
def ellipsoid(request) -> dict:
    """The measures of an ellipsoid on an anisotropic grid."""
    shape = (48, 72, 96)
    affine = grid(request.param, shape)
    labels = ball(affine, shape, center=PLACE, half=HALF_AXES).astype(np.uint8)
    return measure_labels(labels, affine)["1"]


def test_the_volume_of_an_ellipsoid_is_that_of_the_formula(ellipsoid):
    assert ellipsoid["volume_ml"] == pytest.approx(4 / 3 * math.pi * math.prod(HALF_AXES) / 1000, rel=0.01)


def test_the_centroid_is_where_the_ellipsoid_was_put(ellipsoid):
    assert ellipsoid["shift_mm"] == pytest.approx(PLACE[::-1], abs=0.1)  # z, y, x


def test_the_axes_are_those_of_the_ellipsoid(ellipsoid):
    assert ellipsoid["axes_mm"] == pytest.approx([2 * a for a in HALF_AXES], rel=0.02)
    assert ellipsoid["axis_ratios"] == pytest.approx([15 / 24, 9 / 24], rel=0.02)


def test_components_are_counted_with_their_sizes_the_largest_first():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[0:2, 0:2, 0:2] = labels[2, 2, 2] = 3  # joined at a corner
    labels[6:9, 6:9, 6:9] = 3
    measures = measure_labels(labels, grid(np.eye(3), labels.shape))["3"]
    voxel = math.prod(SPACING)
    assert measures["components"] == 2
    assert measures["component_mm3"] == pytest.approx([27 * voxel, 9 * voxel], rel=1e-5)


def test_shifts_from_all_labels_do_not_depend_on_where_the_scan_ends():
    labels = np.zeros((30, 10, 10), np.uint8)
    labels[5, 4:6, 4:6], labels[15, 4:6, 4:6] = 1, 2
    whole = measure_labels(labels, grid(np.eye(3), labels.shape))
    cut = measure_labels(labels[4:17], grid(np.eye(3), labels[4:17].shape))
    assert whole["1"]["shift_from_all_mm"] == pytest.approx([-5 * SPACING[0], 0, 0], abs=1e-6)
    assert cut["1"]["shift_from_all_mm"] == whole["1"]["shift_from_all_mm"]
    assert cut["1"]["shift_mm"] != whole["1"]["shift_mm"]


@pytest.fixture
def write(tmp_path):
    """Write a case in FLARE's layout, its axes stored as ``codes`` say; the affine is that of :func:`grid`."""

    def write(name: str, labels: np.ndarray, *, codes: str = "RAS", image: np.ndarray | None = None) -> dict[str, str]:
        image = (labels * 100.0).astype(np.float32) if image is None else image
        affine = grid(np.eye(3), labels.shape)
        to = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
        )
        item = {"case": name, "image": f"train_images/{name}_0000.nii.gz", "label": f"train_mask/{name}.nii.gz"}
        for key, array in (("image", image), ("label", labels.astype(np.uint8))):
            (tmp_path / item[key]).parent.mkdir(exist_ok=True)
            stored = nib.Nifti1Image(array, affine).as_reoriented(to)
            nib.save(stored, tmp_path / item[key])
            item[key] = str(tmp_path / item[key])
        return item

    return write


def lopsided() -> np.ndarray:
    labels = np.zeros((8, 12, 10), np.uint8)
    labels[1:3, 2:9, 1:4], labels[5, 8:10, 6:9] = 1, 2
    return labels


def test_a_patient_measures_the_same_however_the_axes_are_stored(write):
    expected = measure_case(write("a", lopsided(), codes="SAR"))
    for codes in ("LPS", "RAI", "IPL", "PIR"):
        found = measure_case(write("a", lopsided(), codes=codes))
        assert {**found, "stored_axes": "", "signs": ""} == {**expected, "stored_axes": "", "signs": ""}
    assert expected["voxels"] == [8, 12, 10]
    assert expected["extent_mm"] == pytest.approx([8 * 1.9, 12 * 1.1, 10 * 0.8])


@pytest.mark.parametrize(
    ("codes", "signs"), [("RAS", [1, -1, -1]), ("LPS", [1, 1, 1]), ("LAI", [-1, -1, 1]), ("SPR", [1, 1, -1])]
)
def test_signs_are_those_of_itks_direction_matrix(write, codes, signs):
    # the specification's target of (z, y, x) = (1, -1, -1) is RAS
    measures = measure_case(write("a", lopsided(), codes=codes))
    assert (measures["stored_axes"], measures["signs"]) == (codes, signs)


def test_an_oblique_scan_says_by_how_much(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix()
    labels = np.ones((4, 5, 6), np.uint8)
    labels[0] = 0
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "a.nii")
    item = {"case": "a", "image": str(tmp_path / "a.nii"), "label": str(tmp_path / "a.nii")}
    assert measure_case(item)["oblique_degrees"] == pytest.approx(12, abs=1e-3)


def test_intensities_are_those_within_each_label(write):
    labels = np.zeros((11, 10, 10), np.uint8)
    labels[:10], labels[10] = 1, 2
    image = np.full(labels.shape, 7.0, np.float32)
    image[:10] = np.arange(1000).reshape(10, 10, 10)
    measures = measure_case(write("a", labels, image=image))["labels"]
    [first], [second] = measures["1"]["intensity"], measures["2"]["intensity"]
    assert (first["p5"], first["p50"], first["mean"]) == pytest.approx((0.05 * 999, 499.5, 499.5))
    assert (second["p0.5"], second["p99.5"], second["sd"]) == (7.0, 7.0, 0.0)


def test_missing_organs_are_named_and_have_a_row_of_no_volume(write, tmp_path):
    without = lopsided()
    without[without == 2] = 0
    for name, labels in (("a", lopsided()), ("b", without), ("c", lopsided())):
        write(name, labels)
    summary = analyze(tmp_path, layout="flare21", output_dir=tmp_path / "out")["summary"]
    assert summary["labels"]["2"]["missing"] == ["b"] and summary["labels"]["2"]["volume_ml"]["n"] == 2
    with (tmp_path / "out/analysis.csv").open() as file:
        volumes = {(row["case"], row["label"]): float(row["volume_ml"]) for row in csv.DictReader(file)}
    assert list(volumes) == list(itertools.product("abc", "12"))
    assert volumes["b", "2"] == 0 and volumes["a", "2"] == pytest.approx(6 * math.prod(SPACING) / 1000)


def test_bad_cases_are_listed_and_the_others_go_on(write, tmp_path, capsys):
    for name in "abc":
        write(name, lopsided())
    (tmp_path / "train_mask/b.nii.gz").write_bytes(b"no volume")
    nib.save(nib.Nifti1Image(lopsided().T, np.eye(4)), tmp_path / "train_mask/c.nii.gz")
    with pytest.raises(ValueError, match="2 of 3 cases cannot be measured"):
        command(str(tmp_path), "flare21", str(tmp_path / "out"))
    printed = capsys.readouterr()
    assert re.fullmatch(r"  b: .*/b\.nii\.gz .*\n  c: .*/c\.nii\.gz: affine differs.*\n", printed.err)
    assert "1 cases" in printed.out
    written = json.loads((tmp_path / "out/analysis.json").read_text())
    assert [row["case"] for row in written["bad"]] == ["b", "c"] and len(written["cases"]) == 1
    assert (tmp_path / "out/analysis.png").read_bytes().startswith(b"\x89PNG")


def test_a_case_keeps_a_name_that_is_no_utf_8_in_table_and_numbers(write, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write(name, lopsided())
    analyze(tmp_path, layout="flare21", output_dir=tmp_path / "out")
    assert b"\ncaf\xe9," in (tmp_path / "out/analysis.csv").read_bytes()
    assert json.loads((tmp_path / "out/analysis.json").read_text())["cases"][0]["case"] == name


def test_a_folder_of_bad_cases_alone_is_an_error_that_names_them(write, tmp_path):
    write("a", lopsided(), image=np.full((8, 12, 10), np.nan, np.float32))
    with pytest.raises(DataError, match=r"none of 1 cases(?s:.*)a_0000\.nii\.gz: 960 voxels are not finite"):
        analyze(tmp_path, layout="flare21", output_dir=tmp_path / "out")


def test_images_of_several_channels_are_measured_channel_by_channel(tmp_path):
    image = np.stack([np.full((6, 5, 4), value, np.float32) for value in (3, 8)], axis=-1)
    image[0] = 0
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((6, 5, 4), np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    item = {"case": "a", "image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    assert [channel["p50"] for channel in measure_case(item, channels=2)["labels"]["1"]["intensity"]] == [3, 8]


def measured(name: str, **labels: tuple[list[float], tuple[float, float, float]]) -> dict:
    """A case whose labels have these components (mm³) and intensities (p5, median, p95)."""
    of_labels = {
        value[1:]: {
            "volume_ml": sum(sizes) / 1000,
            "component_mm3": sizes,
            "intensity": [dict(zip(("p5", "p50", "p95"), shares, strict=True))],
        }
        for value, (sizes, shares) in labels.items()
    }
    return {"case": name, "labels": of_labels}


def test_limits_are_a_tenth_of_the_smallest_component_that_is_kept():
    # label 2 is two parts but for crumbs; the 5th percentile of 40000 and 60000 is 41000, of 90000 and 90000 90000
    cases = [
        measured("a", _1=([90000.0, 300.0], (0, 0, 0)), _2=([70000.0, 40000.0, 90.0], (0, 0, 0))),
        measured("b", _1=([90000.0], (0, 0, 0)), _2=([60000.0, 60000.0], (0, 0, 0))),
    ]
    suggested = suggest(cases)
    assert suggested["components"] == {"1": {"keep": 1, "min_mm3": 9000}, "2": {"keep": 2, "min_mm3": 4100}}
    assert suggested["min_mm3"] == {"coarse": 2050, "fine": 4100}


def test_shifts_reach_as_far_as_the_bulk_of_any_case_lies_from_the_typical_one():
    # medians 100 and 140, typical 120; the 5th percentile of 20 and 60 is 22, the 95th of 180 and 200 is 199
    cases = [
        measured("a", _1=([9e4], (20, 100, 180))),
        measured("b", _1=([9e4], (60, 140, 200))),
    ]
    assert suggest(cases)["shift"] == [-98, 98]  # 120 - 22 is more than 199 - 120


def test_summaries_are_means_deviations_and_percentiles(write):
    labels = np.zeros((40, 6, 6), np.uint8)
    cases = []
    for n in (1, 2, 6):
        labels[:n] = 1
        cases.append(measure_case(write("a", labels)))
    volume = summarize_cases(cases)["labels"]["1"]["volume_ml"]
    unit = 36 * math.prod(SPACING) / 1000
    assert [volume[key] / unit for key in ("mean", "sd", "median", "p95")] == pytest.approx(
        [3, math.sqrt(7), 2, 5.6], rel=1e-4
    )


def test_the_real_case_is_analyzed(shared_data, tmp_path):
    analysis = analyze(shared_data / "flare21", layout="flare21", output_dir=tmp_path)
    assert list(analysis["summary"]["labels"]) == ["1", "2", "3", "4"]
    assert 800 < analysis["cases"][0]["labels"]["1"]["volume_ml"] < 2500  # an adult's liver
    low, high = analysis["suggested"]["shift"]
    assert f"intensity shifts of {low:g} to {high:g}" in table(analysis)
