"""BIDS: images by subject and session, labels among the derivatives."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.datasets import DataError, check_datalist, recognize


def test_a_subjects_label_lies_among_the_derivatives(write) -> None:
    image, label = "sub-01/anat/sub-01_T1w.nii.gz", "derivatives/manual/sub-01/anat/sub-01_space-orig_dseg.nii.gz"
    folder = write(image, label, "sub-02/anat/sub-02_T1w.nii.gz")
    found = recognize(folder)
    assert found.layout == "bids" and found.channels == ("T1w",) and found.modality == "MR"
    assert found.cases == [{"case": "sub-01", "image": str(folder / image), "label": str(folder / label)}]
    assert [case["case"] for case in found.unlabeled] == ["sub-02"]


def test_sessions_are_cases_of_one_patient(write) -> None:
    for session in ("ses-a", "ses-b"):
        stem = f"sub-01/{session}/anat/sub-01_{session}"
        folder = write(f"{stem}_FLAIR.nii.gz", f"derivatives/{stem}_label-lesion_mask.nii.gz")
    found = recognize(folder)
    assert found.groups == {"sub-01_ses-a": "sub-01", "sub-01_ses-b": "sub-01"}
    assert found.structures == {"lesion": 1}


def test_the_plainest_of_several_images_counts(write) -> None:
    names = ["sub-01/anat/sub-01_acq-fast_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz"]
    folder = write(*names, "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz")
    assert recognize(folder).cases[0]["image"] == str(folder / names[1])


def test_a_table_names_the_structures(write) -> None:
    folder = write("sub-01/anat/sub-01_T1w.nii.gz", "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz")
    (folder / "derivatives/x/dseg.tsv").write_text("index\tname\tcolor\n0\tbackground\t\n2\tputamen\t\n5\tcaudate\t\n")
    assert recognize(folder).structures == {"putamen": 2, "caudate": 5}
    (folder / "derivatives/x/dseg.tsv").write_text("value,name\n1,putamen\n")
    with pytest.raises(DataError, match=r"dseg\.tsv: expected columns index \(label value\) and name"):
        recognize(folder)


def test_a_channel_that_one_subject_lacks_is_named_by_the_check(write) -> None:
    images = [f"sub-0{k}/anat/sub-0{k}_{suffix}.nii.gz" for k in (1, 2, 3) for suffix in ("FLAIR", "T1w")]
    labels = [f"derivatives/x/sub-0{k}/anat/sub-0{k}_dseg.nii.gz" for k in (1, 2, 3)]
    folder = write(*images, *labels)
    (folder / images[2]).unlink()
    with pytest.raises(DataError, match=r"sub-02/anat/sub-02_FLAIR\.nii\.gz: no such file or folder"):
        check_datalist(recognize(folder).cases, channels=2)


def test_several_labels_of_a_session_are_named(write) -> None:
    names = [f"derivatives/{rater}/sub-01/anat/sub-01_dseg.nii.gz" for rater in ("a", "b")]
    folder: Path = write("sub-01/anat/sub-01_T1w.nii.gz", *names)
    with pytest.raises(DataError, match=rf"several labels.*(?s:.*){names[0]}, .*{names[1]}"):
        recognize(folder)
