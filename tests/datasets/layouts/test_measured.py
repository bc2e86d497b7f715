"""What a data set does not say is read from its files: modality and label values."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datasets import DataError, recognize
from common.datasets.layouts.measured import label_values_of, modality_of, structures_by_value


@pytest.fixture
def save(tmp_path: Path):
    def _save(name: str, array: np.ndarray) -> str:
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
        return str(tmp_path / f"{name}.nii.gz")

    return _save


def uniform(low: float, high: float, dtype: type = np.int16) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, (12, 12, 12)).astype(dtype)


IMAGES = {
    "HU with air": (uniform(-1024, 1500), "CT", None),
    "HU after resampling": (uniform(-1000, 1500, np.float32), "CT", None),
    "HU clipped to a window": (uniform(-125, 275), "CT", "as of a CT without air"),
    "MR of 12 bits": (uniform(0, 4095), "MR", None),
    "z-scores": (uniform(-3, 5, np.float32), "MR", None),
    "8 bits": (uniform(0, 255, np.uint8), "MR", "as a CT's after a window to 8 bits would be too"),
    "HU plus 1024": (uniform(900, 1200), "MR", "as of a CT with 1024 added to HU"),
    "MR with ringing": (np.where(uniform(0, 565) < 10, np.int16(-36), uniform(0, 565)), "MR", None),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_hounsfield_units_are_a_ct_and_a_doubt_is_said_with_its_file(save, kind: str) -> None:
    array, modality, doubt = IMAGES[kind]
    file = save("a", array)
    found, said = modality_of([file])
    assert found == modality
    assert said is None if doubt is None else (file in said and doubt in said)


def test_where_images_differ_most_of_them_count_and_two_are_named(save) -> None:
    files = [save(f"mr{k}", uniform(0, 4095)) for k in range(4)] + [save("ct", uniform(-1024, 1500))]
    modality, doubt = modality_of(files)
    assert modality == "MR"
    assert f"{files[0]} looks like MR, {files[4]} like CT" in doubt


def test_channels_of_two_modalities_are_named_both(save) -> None:
    assert modality_of([[save("pet", uniform(0, 4095)), save("ct", uniform(-1024, 1500))]]) == ("CT, MR", None)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.nii: no such file"):
        modality_of([str(tmp_path / "gone.nii")])
    with pytest.raises(DataError, match="no images"):
        modality_of([])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_label_values_are_those_of_all_labels(save, dtype: type) -> None:
    first, second = np.zeros((2, 6, 5, 4), dtype)
    first[1, 1, 1], second[2, 2, 2], second[3, 3, 3] = 2, 7, 255
    assert label_values_of([save("a", first), save("b", second)]) == {0, 2, 7, 255}


def test_unnamed_structures_are_called_after_their_values() -> None:
    assert structures_by_value({0, 3, 1}) == {"structure 1": 1, "structure 3": 3}


def test_labels_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)a\.nii: no such file.*b\.nii: no such file"):
        label_values_of([tmp_path / "a.nii", tmp_path / "b.nii"])


@pytest.mark.parametrize(
    ("folder", "modality"),
    [
        ("Task03_Liver_lits", "CT"),
        ("flare21", "CT"),
        ("flare21_btcv", "CT"),
        ("Task04_Hippocampus", "MR"),
        ("atria2018", "MR"),
        ("brats2021", "MR"),
    ],
)
def test_the_modality_of_real_data_sets_is_that_of_their_layouts(folder: str, modality: str, shared_data: Path) -> None:
    found = recognize(shared_data / folder)
    assert modality_of([case["image"] for case in found.cases])[0] == modality == found.modality


def test_the_label_values_of_real_data_are_those_named(shared_data: Path) -> None:
    found = recognize(shared_data / "Task04_Hippocampus")
    assert label_values_of([case["label"] for case in found.cases[:5]]) == set(found.label_values)
