"""The made-up brains: repeatable, like brains with tumors, and written as BraTS 2020 and Task01."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import MapLabelValued
from scipy.ndimage import binary_dilation, label

from common.datasets import brats2020_datalist, listed_split, msd_task01_datalist, training_cases
from common.phantoms import brain_phantom, write_brats2020, write_msd_task01
from common.transforms import load_on_grid

CORE, EDEMA, ENHANCING = 1, 2, 4
FLAIR, T1, T1CE, T2 = range(4)
PATIENTS = 8
ORDER = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def patients():
    return [brain_phantom(seed) for seed in range(PATIENTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantoms") / "brats2020"
    write_brats2020(str(path), cases=3, seed=0)
    return path


@pytest.fixture(scope="module")
def task01(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantoms") / "Task01_BrainTumour"
    write_msd_task01(str(path), cases=3, seed=0)
    return path


def median(patient, contrast: int, where) -> float:
    return float(np.median(patient.image[contrast][where]))


def healthy(patient):
    return (patient.image[FLAIR] > 0) & ~binary_dilation(patient.label > 0, iterations=2)


def test_the_same_seed_gives_the_same_voxels(patients):
    again = brain_phantom(0)
    assert np.array_equal(again.image, patients[0].image) and np.array_equal(again.label, patients[0].label)


def test_another_seed_gives_another_patient(patients):
    assert not np.array_equal(patients[0].label, patients[1].label)


def test_all_patients_have_one_grid_as_those_of_brats(patients):
    assert {(*p.image.shape, *p.spacing) for p in patients} == {(4, 60, 60, 40, 3.9, 3.9, 4.2)}


def test_outside_the_brain_all_contrasts_are_zero_and_inside_none_is(patients):
    for patient in patients:
        brain = patient.image > 0
        assert (brain == brain[0]).all() and not brain[0][[0, -1]].any() and not brain[0][:, [0, -1]].any()
        assert brain[0][patient.label > 0].all()


def test_the_brain_has_a_humans_size_and_is_in_one_piece(patients):
    for patient in patients:
        brain = patient.image[FLAIR] > 0
        largest = np.bincount(label(brain)[0].ravel())[1:].max()
        assert 1000 < largest * np.prod(patient.spacing) / 1000 < 1900  # ml
        assert largest > 0.99 * np.count_nonzero(brain)


def test_the_tumor_is_mostly_one_piece_of_20_to_350_ml(patients):
    for patient in patients:
        tumor = patient.label > 0
        assert 20 < np.count_nonzero(tumor) * np.prod(patient.spacing) / 1000 < 350
        assert np.bincount(label(tumor)[0].ravel())[1:].max() > 0.9 * np.count_nonzero(tumor)


def test_tumors_differ_in_size_and_place(patients):
    volumes = [np.count_nonzero(patient.label) for patient in patients]
    centers = np.array([np.argwhere(patient.label).mean(0) for patient in patients])
    assert max(volumes) > 2 * min(volumes) and (centers.max(0) - centers.min(0) > 8).all()


def test_some_tumors_lack_the_enhancing_part_and_most_have_it(patients):
    without = [not (patient.label == ENHANCING).any() for patient in patients]
    assert 0 < sum(without) < PATIENTS / 2


def test_edema_is_brighter_than_healthy_brain_in_flair_and_t2(patients):
    for patient in patients:
        for contrast in (FLAIR, T2):
            edema = median(patient, contrast, patient.label == EDEMA)
            assert edema > 1.15 * median(patient, contrast, healthy(patient))


def test_the_rim_is_bright_and_the_core_dark_with_contrast_medium_alone(patients):
    for patient in patients:
        rim, core = patient.label == ENHANCING, patient.label == CORE
        brain = median(patient, T1CE, healthy(patient))
        assert median(patient, T1CE, core) < 0.9 * brain
        if rim.any():
            assert median(patient, T1CE, rim) > 1.2 * brain
            assert median(patient, T1, rim) < median(patient, T1, healthy(patient))


def test_the_core_lies_within_the_rim(patients):
    for patient in patients:
        rim, core = patient.label == ENHANCING, patient.label == CORE
        if rim.any():
            around = binary_dilation(core) & ~core
            assert np.isin(patient.label[around], (ENHANCING, 0)).mean() > 0.95


def test_no_threshold_finds_the_enhancing_part(patients):
    for patient in patients:
        rim, image = patient.label == ENHANCING, patient.image[T1CE]
        if rim.any():
            found = [image >= t for t in np.percentile(image[image > 0], np.arange(80, 100, 1))]
            assert max(2 * np.sum(f & rim) / (f.sum() + rim.sum()) for f in found) < 0.9


def test_each_contrast_has_its_own_scale_as_in_real_scans(patients):
    means = np.array([[median(p, c, healthy(p)) for c in range(4)] for p in patients])
    assert (means.max(0) > 2 * means.min(0)).all()


def test_training_reads_the_phantoms_as_it_reads_brats(folder, tmp_path):
    cases = training_cases("brats2020", folder, channels=4, label_values=[0, 1, 2, 4], cache_dir=tmp_path)
    assert [case["case"] for case in cases] == [f"BraTS20_Phantom_00{k}" for k in (1, 2, 3)]


def test_orientations_are_mixed_and_slices_thicker_than_pixels(folder):
    images = [nib.load(item["image"][0]) for item in brats2020_datalist(folder)]
    assert [nib.aff2axcodes(image.affine) for image in images] == [tuple("LPS"), tuple("RAS"), tuple("LPS")]
    np.testing.assert_allclose([image.header.get_zooms() for image in images], [[3.9, 3.9, 4.2]] * 3, rtol=1e-6)


def test_the_cerebellum_lies_below_the_brains_middle_and_behind_it_in_every_orientation(folder):
    for item in brats2020_datalist(folder):
        flair = load_on_grid(["image"], axcodes="RAS", channel_order=ORDER)(item)["image"][0].numpy() > 0
        middle = np.argwhere(flair).mean(0)
        low = np.argwhere(flair[..., : int(middle[2]) - 10])
        assert low[:, 1].mean() < middle[1]


def test_images_are_int16_and_labels_bytes(folder):
    [item, *_] = brats2020_datalist(folder)
    types = [nib.load(path).get_data_dtype() for path in (*item["image"], item["label"])]
    assert types == [np.int16] * 4 + [np.uint8]


def test_published_lists_do_not_apply_to_phantoms(folder, tmp_path):
    cases = brats2020_datalist(folder)
    listed_split(tmp_path / "split.json", cases, listed="brats2020", fold=0, folds=3, seed=0)
    assert '"kind": "seeded"' in (tmp_path / "split.json").read_text()


def test_task01_holds_the_same_patients_with_other_label_values(folder, task01):
    to_brats = MapLabelValued("label", orig_labels=[1, 2, 3], target_labels=[2, 1, 4], dtype=np.uint8)
    load = load_on_grid(classes=True, channel_order=ORDER)
    pairs = zip(brats2020_datalist(folder), msd_task01_datalist(task01), strict=True)
    for ours, theirs in pairs:
        ours, theirs = load(ours), to_brats(load(theirs))
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], theirs[key])
            np.testing.assert_allclose(ours[key].affine, theirs[key].affine, atol=1e-5)


def test_training_reads_task01_phantoms(task01, tmp_path):
    assert len(training_cases("msd_task01", task01, channels=4, label_values=[0, 1, 2, 3], cache_dir=tmp_path)) == 3
