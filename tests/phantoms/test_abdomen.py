"""The made-up abdomens: anatomical, repeatable, hard enough, and written as Task03_Liver."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage
from scipy.ndimage import center_of_mass, label

from common.datasets import check_datalist, decathlon_datalist
from common.phantoms import abdomen_phantom, write_task03_liver

LIVER, KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4
VOLUMES_ML = {LIVER: (500, 1800), KIDNEY: (150, 450), SPLEEN: (40, 350), PANCREAS: (30, 140)}  # adults
CASES = 4


@pytest.fixture(scope="module")
def patients():
    return [abdomen_phantom(seed) for seed in range(CASES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantoms") / "Task03_Liver"
    write_task03_liver(str(path), cases=CASES, seed=0)
    return path


@pytest.fixture
def one_patient(patients, monkeypatch):
    """Every phantom is the same: where it does not matter which, this is quicker."""
    monkeypatch.setattr("common.phantoms.data_sets.abdomen_phantom", lambda seed: patients[0])


def disk_full(*_: object) -> None:
    raise OSError("disk full")


def largest_share(mask) -> float:
    """Share of a mask that its largest connected part has."""
    return np.bincount(label(mask)[0].ravel())[1:].max() / np.count_nonzero(mask)


def test_the_same_seed_gives_the_same_voxels(patients):
    again = abdomen_phantom(0)
    assert np.array_equal(again.image, patients[0].image)
    assert np.array_equal(again.organs, patients[0].organs) and np.array_equal(again.tumor, patients[0].tumor)


def test_another_seed_gives_another_patient(patients):
    assert patients[0].image.shape != patients[1].image.shape or not np.array_equal(
        patients[0].image, patients[1].image
    )


def test_images_are_hounsfield_units_of_sixteen_bits(patients):
    for patient in patients:
        assert patient.image.dtype == np.int16
        assert patient.image.min() >= -1024 and patient.image.max() > 300  # air and bone


def test_organs_have_an_adults_size(patients):
    for patient in patients:
        milliliters = np.bincount(patient.organs.ravel(), minlength=5) * np.prod(patient.spacing) / 1000
        for organ, (low, high) in VOLUMES_ML.items():
            assert low < milliliters[organ] < high


def test_liver_and_spleen_are_in_one_piece(patients):
    for patient in patients:
        assert min(largest_share(patient.organs == organ) for organ in (LIVER, SPLEEN)) > 0.98


def test_the_liver_lies_to_the_right_of_the_spleen_and_above_the_kidneys(patients):
    for patient in patients:  # axes point to the left, the back and the head
        liver, kidney, spleen, _ = center_of_mass(np.ones_like(patient.organs), patient.organs, [1, 2, 3, 4])
        assert liver[0] + 40 / patient.spacing[0] < spleen[0]
        assert liver[2] > kidney[2] and kidney[1] > liver[1]


def test_there_are_two_kidneys_one_on_each_side(patients):
    for patient in patients:
        parts, _ = label(patient.organs == KIDNEY)
        sizes = np.bincount(parts.ravel())[1:]
        two = np.argsort(sizes)[-2:] + 1
        left_right = [center_of_mass(parts == part)[0] for part in two]
        middle = patient.image.shape[0] / 2
        assert sizes[two - 1].sum() > 0.95 * sizes.sum() and min(left_right) < middle < max(left_right)


def test_tumors_lie_in_the_liver_and_differ_from_it(patients):
    seen = 0
    for patient in patients:
        liver = patient.image[(patient.organs == LIVER) & ~patient.tumor]
        parts, count = label(patient.tumor)
        assert (patient.organs[patient.tumor] == LIVER).all() and count <= 5
        for part in range(1, count + 1):
            if np.count_nonzero(parts == part) > 50:
                seen += 1
                assert abs(np.median(patient.image[parts == part]) - np.median(liver)) > 10  # HU
    assert seen


def test_no_threshold_finds_the_liver(patients):
    for patient in patients:
        liver = patient.organs == LIVER
        best = 0.0
        for low in range(0, 120, 10):
            found = (patient.image >= low) & (patient.image < low + 60)
            best = max(best, 2 * np.sum(found & liver) / (found.sum() + liver.sum()))
        assert best < 0.75


def test_files_and_listing_are_those_of_task03_liver(folder):
    listing = json.loads((folder / "dataset.json").read_text())
    assert listing["labels"] == {"0": "background", "1": "liver", "2": "cancer"} and listing["modality"] == {"0": "CT"}
    assert (
        listing["numTraining"] == len(listing["training"]) == CASES and listing["numTest"] == len(listing["test"]) == 2
    )
    cases = decathlon_datalist(folder)
    assert [case["case"] for case in cases] == [f"liver_{k}" for k in range(CASES)]
    check_datalist(cases, label_values=(0, 1, 2))
    check_datalist(decathlon_datalist(folder, "test"))


def test_stray_files_lie_between_the_images_as_in_the_real_archive(folder):
    found = {path.name for path in (folder / "imagesTr").glob("*.nii.gz")}
    assert "._liver_0.nii.gz" in found
    assert found - {"._liver_0.nii.gz"} == {f"liver_{k}.nii.gz" for k in range(CASES)}


def test_labels_and_images_are_stored_as_small_integers(folder):
    image, mask = (nib.load(folder / kind / "liver_0.nii.gz") for kind in ("imagesTr", "labelsTr"))
    assert image.get_data_dtype() == np.int16 and mask.get_data_dtype() == np.uint8


def test_orientations_are_mixed_and_their_affines_right(folder):
    codes = set()
    for case in decathlon_datalist(folder):
        mask = LoadImage()(case["label"])
        codes.add(nib.aff2axcodes(mask.affine.numpy()))
        liver = mask.affine.numpy() @ [*center_of_mass(mask.numpy() > 0), 1]  # mm, RAS
        middle = mask.affine.numpy() @ [*(np.asarray(mask.shape) - 1) / 2, 1]
        assert liver[0] > middle[0] + 15  # the patient's right
    assert len(codes) == CASES


def test_some_patients_have_no_tumor(patients):
    free = [not patient.tumor.any() for patient in patients]
    assert any(free) and not all(free)


def test_another_set_in_the_same_folder_leaves_nothing_of_the_first(tmp_path, one_patient):
    for cases in (2, 1):
        write_task03_liver(str(tmp_path), cases=cases, seed=0)
    assert sorted(path.name for path in tmp_path.glob("*/liver*")) == [
        "liver_0.nii.gz",
        "liver_0.nii.gz",
        "liver_1.nii.gz",
        "liver_2.nii.gz",
    ]  # image and label of the one case, two test images


def test_a_writer_that_was_interrupted_goes_on(tmp_path, one_patient):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.phantoms.data_sets.write_nifti", disk_full)
        with pytest.raises(OSError, match="disk full"):
            write_task03_liver(str(tmp_path), cases=1)
    assert not (tmp_path / "phantom.json").exists()
    assert write_task03_liver(str(tmp_path), cases=1) == ["liver_0"]
    assert (tmp_path / "phantom.json").exists() and not (tmp_path / "phantom_unfinished.json").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "dataset.json").touch()
    with pytest.raises(FileExistsError, match="not phantoms"):
        write_task03_liver(str(tmp_path), cases=1)
