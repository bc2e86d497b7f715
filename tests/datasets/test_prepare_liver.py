"""The half-resolution copy of Task03_Liver: geometry, checks, report, and going on after interruptions and faults."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

from common.datasets import check_datalist, decathlon_datalist
from common.datasets.__main__ import prepare_liver as command
from common.datasets.prepare_liver import halve_case, prepare_liver, table
from common.phantoms import write_task03_liver

SHAPE = (20, 16, 13)
LAS = np.array([[-1.5, 0, 0, 40], [0, 1.5, 0, -30], [0, 0, 2.5, 7], [0, 0, 0, 1]])


def write_task(folder: Path, labels: list[np.ndarray], affine: np.ndarray = LAS) -> Path:
    """A small data set in the layout, with a ramp as the image of each label; x points to the patient's left."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    items = []
    for k, label in enumerate(labels):
        image = np.broadcast_to(np.arange(SHAPE[0])[:, None, None] * 10 - 1000, SHAPE).astype(np.int16)
        for part, array in (("images", image), ("labels", label)):
            nib.save(nib.Nifti1Image(array, affine), folder / f"{part}Tr" / f"liver_{k}.nii.gz")
        items.append({"image": f"./imagesTr/liver_{k}.nii.gz", "label": f"./labelsTr/liver_{k}.nii.gz"})
    listing = {"name": "Liver", "licence": "CC-BY-SA 4.0", "labels": {"1": "liver"}, "training": items, "test": []}
    (folder / "dataset.json").write_text(json.dumps(listing))
    return folder


def liver() -> np.ndarray:
    """A liver with a tumor of 8 x 4 x 4 voxels, and one of a single voxel that is no new voxel's nearest."""
    label = np.zeros(SHAPE, np.uint8)
    label[2:18, 2:14, 2:11] = 1
    label[4:12, 4:8, 4:8] = 2
    label[15, 10, 4] = 2  # x = 4 in RAS order, an even index: the middle of 4, 5 is given to 5
    return label


@pytest.fixture
def source(tmp_path) -> Path:
    return write_task(tmp_path / "Task03_Liver", [liver(), liver()])


def prepare(source: Path, **options):
    return prepare_liver(source, source.parent / "copy", workers=1, **options)


def test_the_copy_is_a_data_set_of_the_same_layout(source):
    prepare(source)
    cases = decathlon_datalist(source.parent / "copy")
    assert [case["case"] for case in cases] == ["liver_0", "liver_1"]
    check_datalist(cases, label_values=(0, 1, 2))


def test_volumes_have_half_the_voxels_along_every_axis_ras_orientation_and_small_integers(source):
    prepare(source)
    image, label = (nib.load(source.parent / "copy" / f"{part}Tr" / "liver_0.nii.gz") for part in ("images", "labels"))
    assert image.shape == label.shape == (10, 8, 7)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.get_data_dtype() == np.int16 and label.get_data_dtype() == np.uint8


def test_the_field_of_view_stays_in_the_patients_place(source):
    prepare(source)
    new = nib.load(source.parent / "copy" / "imagesTr" / "liver_0.nii.gz")
    old = nib.as_closest_canonical(nib.load(source / "imagesTr" / "liver_0.nii.gz"))
    for fraction in ([0, 0, 0], [1, 1, 1], [0.5, 0.2, 0.7]):  # of the voxels' outer edges
        ends = [image.affine @ [*(np.array(fraction) * image.shape - 0.5), 1] for image in (old, new)]
        np.testing.assert_allclose(*ends, atol=1e-4)


def test_brightness_stays_where_it_was_in_millimeters(source):
    prepare(source)
    new = nib.load(source.parent / "copy" / "imagesTr" / "liver_0.nii.gz")
    index = np.array([[4, 3, 2], [6, 5, 5]])
    x = (new.affine @ np.c_[index, [1, 1]].T)[0]  # mm, RAS
    ramp = (x - LAS[0, 3]) / LAS[0, 0] * 10 - 1000  # the image's own formula
    np.testing.assert_allclose(np.asarray(new.dataobj)[tuple(index.T)], ramp, atol=0.5)


def test_the_image_does_not_brighten_at_the_edge_of_the_field_of_view(tmp_path):
    folder = write_task(tmp_path / "Task03_Liver", [liver()])
    air = np.full(SHAPE, -1000, np.int16)
    air[10, 8, 6] = 0
    nib.save(nib.Nifti1Image(air, LAS), folder / "imagesTr" / "liver_0.nii.gz")
    prepare(folder)
    copy = np.asarray(nib.load(tmp_path / "copy/imagesTr/liver_0.nii.gz").dataobj)
    faces = [copy.take([0, -1], axis).ravel() for axis in range(3)]
    assert np.unique(np.concatenate(faces)).tolist() == [-1000]


def test_a_label_voxel_is_the_nearest_as_torch_sees_it(source):
    prepare(source)
    old = np.asarray(nib.as_closest_canonical(nib.load(source / "labelsTr/liver_0.nii.gz")).dataobj)
    expected = torch.nn.functional.interpolate(
        torch.tensor(old.copy())[None, None], size=(10, 8, 7), mode="nearest-exact"
    )
    new = np.asarray(nib.load(source.parent / "copy/labelsTr/liver_0.nii.gz").dataobj)
    assert np.array_equal(new, expected[0, 0].numpy())


def test_in_plane_mode_keeps_the_slices(source):
    prepare(source, mode="in-plane")
    image = nib.load(source.parent / "copy" / "imagesTr" / "liver_0.nii.gz")
    assert image.shape == (256, 256, 13)
    np.testing.assert_allclose(image.header.get_zooms(), (1.5 * 20 / 256, 1.5 * 16 / 256, 2.5), rtol=1e-5)


def test_the_report_counts_voxels_and_names_tumors_that_vanished(source):
    row = prepare(source)["cases"][0]
    assert row["tumors"] == 2 and row["tumor_voxels"] == [8 * 4 * 4 + 1, 4 * 2 * 2]
    assert row["vanished"] == [round(1.5 * 1.5 * 2.5, 1)]  # mm³ of one voxel
    assert row["shape"] == [list(SHAPE), [10, 8, 7]] and row["spacing"][0] == [1.5, 1.5, 2.5]


def test_the_table_lists_what_to_look_at(tmp_path):
    text = table(prepare(write_task(tmp_path / "Task03_Liver", [liver()], np.diag([-1.0, 1.0, 1.0, 1.0]))))
    assert "voxel left (mm³ each): liver_0 (1)" in text
    assert text.splitlines()[-1].endswith("mislead: liver_0")  # unit spacing


def test_license_structure_and_provenance_go_with_the_copy(source):
    prepare(source)
    listing = json.loads((source.parent / "copy" / "dataset.json").read_text())
    assert listing["licence"] == "CC-BY-SA 4.0" and listing["labels"] == {"1": "liver"}
    assert listing["numTraining"] == 2 and "half as many voxels" in listing["provenance"]


def test_cases_that_are_whole_are_skipped(source, monkeypatch):
    first = prepare(source)
    monkeypatch.setattr("common.datasets.prepare_liver.halve_case", lambda *_: pytest.fail("made again"))
    assert prepare(source) == first


def test_a_case_that_was_cut_short_or_has_a_new_source_is_made_again(source):
    prepare(source)
    copy = source.parent / "copy"
    (copy / "imagesTr/liver_0.nii.gz").write_bytes(b"part")
    label = liver()
    label[4:12, 4:8, 4:8] = 1
    nib.save(nib.Nifti1Image(label, LAS), source / "labelsTr/liver_1.nii.gz")
    rows = prepare(source)["cases"]
    assert nib.load(copy / "imagesTr/liver_0.nii.gz").shape == (10, 8, 7)
    assert rows[1]["tumor_voxels"][0] == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda label: label * 3, "label value 3, 6 not allowed"),
        (lambda label: label[:-1], "differs from the image's"),
        (lambda label: (label == 2).astype(np.uint8) * 2, "no liver"),
    ],
)
def test_a_bad_case_is_named_and_left_out_and_the_others_are_made(source, spoil, reason, capsys):
    nib.save(nib.Nifti1Image(spoil(liver()), LAS), source / "labelsTr/liver_0.nii.gz")
    copy = source.parent / "copy"
    with pytest.raises(ValueError, match="1 of 2 cases"):
        command(str(source), str(copy), workers=1)
    assert re.search(rf"liver_0\.nii\.gz.*{reason}", capsys.readouterr().err)
    assert [case["case"] for case in decathlon_datalist(copy)] == ["liver_1"]


def test_a_case_repaired_later_joins_the_copy(source):
    whole = source.parent / "whole.nii.gz"
    shutil.copy(source / "labelsTr/liver_0.nii.gz", whole)
    (source / "labelsTr/liver_0.nii.gz").write_bytes(b"damaged")
    assert "fault" in prepare(source)["cases"][0]
    shutil.copy(whole, source / "labelsTr/liver_0.nii.gz")
    prepare(source)
    assert len(decathlon_datalist(source.parent / "copy")) == 2


@pytest.mark.slow
def test_several_processes_make_the_same_copy(source):
    one = prepare(source)
    several = prepare_liver(source, source.parent / "copy2", workers=2)
    assert several == one


def test_a_target_inside_the_source_is_refused(source):
    with pytest.raises(ValueError, match="inside the source"):
        prepare_liver(source, source / "half")


def test_phantoms_of_all_orientations_come_out_with_the_liver_on_the_right(tmp_path):
    write_task03_liver(str(tmp_path / "phantoms"), cases=2)
    report = prepare_liver(tmp_path / "phantoms", tmp_path / "copy", workers=1)
    assert [row["case"] for row in report["cases"]] == ["liver_0", "liver_1", "liver_2", "liver_3"]  # two are for tests
    for case in decathlon_datalist(tmp_path / "copy"):
        label = np.asarray(nib.load(case["label"]).dataobj)
        assert center_of_mass(label > 0)[0] > label.shape[0] / 2 + 5


def test_the_real_volume_keeps_liver_and_tumors(shared_data, tmp_path):
    (item,) = decathlon_datalist(shared_data / "Task03_Liver")
    row = halve_case(item, tmp_path, "Tr", "half")
    for before, after in (row["liver_voxels"], row["tumor_voxels"]):
        assert after == pytest.approx(before / 8, rel=0.02)
