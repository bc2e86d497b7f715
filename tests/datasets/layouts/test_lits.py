"""The layout of the LiTS challenge: paired by number, in one folder or in batches."""

from __future__ import annotations

import pytest

from common.datasets import DataError, check_datalist, lits_datalist


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_volumes_and_segmentations_are_paired_by_number_in_its_order(tmp_path):
    touch(tmp_path, *(f"{kind}-{n}.nii" for kind in ("volume", "segmentation") for n in (10, 2, 0)))
    assert lits_datalist(tmp_path) == [
        {
            "case": f"volume-{n}",
            "image": str(tmp_path / f"volume-{n}.nii"),
            "label": str(tmp_path / f"segmentation-{n}.nii"),
        }
        for n in (0, 2, 10)
    ]


def test_batches_and_compressed_files_are_found(tmp_path):
    touch(
        tmp_path,
        "batch1/volume-0.nii.gz",
        "batch2/segmentation-0.nii",
        "batch2/volume-30.nii",
        "seg/segmentation-30.nii",
    )
    items = lits_datalist(tmp_path)
    assert [item["image"] for item in items] == [
        str(tmp_path / "batch1/volume-0.nii.gz"),
        str(tmp_path / "batch2/volume-30.nii"),
    ]
    assert [item["label"] for item in items] == [
        str(tmp_path / "batch2/segmentation-0.nii"),
        str(tmp_path / "seg/segmentation-30.nii"),
    ]


def test_test_volumes_and_stray_files_are_no_cases(tmp_path):
    touch(
        tmp_path,
        "volume-1.nii",
        "segmentation-1.nii",
        "test-volume-2.nii",
        "._volume-3.nii",
        "volume-x.nii",
        "volume-4.nii.txt",
    )
    assert [item["case"] for item in lits_datalist(tmp_path)] == ["volume-1"]


def test_missing_partners_are_named_in_one_message(tmp_path):
    touch(tmp_path, "volume-1.nii", "b/segmentation-2.nii.gz")
    with pytest.raises(DataError) as error:
        check_datalist(lits_datalist(tmp_path))
    assert f"{tmp_path / 'segmentation-1.nii'}: no such file or folder" in str(error.value)
    assert f"{tmp_path / 'b/volume-2.nii.gz'}: no such file or folder" in str(error.value)


def test_two_files_of_one_number_are_refused_by_name(tmp_path):
    touch(tmp_path, "a/volume-1.nii", "b/volume-1.nii.gz", "segmentation-1.nii")
    with pytest.raises(DataError, match=r"a/volume-1\.nii, .*b/volume-1\.nii\.gz"):
        lits_datalist(tmp_path)


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_wrong_path_or_a_folder_without_cases_says_what_is_expected(tmp_path, folder):
    with pytest.raises(DataError, match=r"volume-<n>\.nii"):
        lits_datalist(tmp_path / folder)
