"""What inference is pointed at, and what it refuses."""

import os

import pytest

from common.datasets import DataError, inference_cases, inference_datalist


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def names(cases):
    return [case["case"] for case in cases]


def test_an_output_folder_that_holds_the_input_folder_hides_nothing(tmp_path):
    touch(tmp_path / "study/images/p1.nii.gz")
    assert names(inference_cases(tmp_path / "study/images", tmp_path / "study")) == ["p1"]


def test_in_a_folder_that_is_both_only_predictions_are_left_out(tmp_path):
    touch(tmp_path / "p1.nii.gz"), touch(tmp_path / "p1_seg.nii.gz")
    assert names(inference_cases(tmp_path, tmp_path)) == ["p1"]


def test_a_folder_of_predictions_alone_is_an_error(tmp_path):
    touch(tmp_path / "p1_seg.nii.gz")
    with pytest.raises(DataError, match="no case to predict"):
        inference_cases(tmp_path, tmp_path)


@pytest.mark.parametrize("case", ["../x", "/x", "a/b", "..", ""])
def test_a_case_that_is_a_path_is_refused(tmp_path, case):
    image = touch(tmp_path / "p1.nii.gz")
    with pytest.raises(DataError, match="is no name of a file"):
        inference_cases([{"case": case, "image": str(image)}], tmp_path / "out")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])  # utf-16: with a mark, as Windows PowerShell writes
@pytest.mark.parametrize("text", ["\ufeffp1.nii.gz\r\n", '"p1.nii.gz"\r\n', "p1.nii.gz"])
def test_a_list_with_a_mark_windows_lines_or_quotes_is_read(tmp_path, text, encoding):
    touch(tmp_path / "p1.nii.gz")
    (tmp_path / "list.txt").write_bytes(text.lstrip("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    assert names(inference_datalist(tmp_path / "list.txt")) == ["p1"]


def test_linked_files_are_named_after_the_link(tmp_path):
    for k, patient in enumerate(("PAT_A", "PAT_B")):
        store = touch(tmp_path / f"annex/MD5E-{k}.nrrd")
        (tmp_path / "set" / patient).mkdir(parents=True)
        (tmp_path / "set" / patient / "lgemri.nrrd").symlink_to(store)
    assert names(inference_datalist(tmp_path / "set")) == ["PAT_A", "PAT_B"]


def test_links_to_nowhere_pipes_and_folders_named_like_images_are_named(tmp_path, caplog):
    touch(tmp_path / "p1.nii.gz")
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    assert names(inference_datalist(tmp_path)) == ["p1"]
    assert all(name in caplog.text for name in ("gone.nii.gz", "pipe.nii.gz", "folder.nii.gz"))


def test_a_decathlon_folder_without_its_test_images_gives_those_of_its_training(tmp_path):
    touch(tmp_path / "imagesTr/la_1.nii.gz")
    listing = '{"training": [{"image": "./imagesTr/la_1.nii.gz", "label": "x"}], "test": ["./imagesTs/la_2.nii.gz"]}'
    (tmp_path / "dataset.json").write_bytes(b"\xef\xbb\xbf" + listing.encode())
    assert names(inference_datalist(tmp_path)) == ["la_1"]


def test_dicom_files_without_preamble_are_a_series(tmp_path):
    (tmp_path / "series").mkdir()
    for k in range(2):  # (0008,0016) SOP class, implicit little endian: PS3.5, 7.1
        (tmp_path / f"series/{k}.dcm").write_bytes(b"\x08\x00\x16\x00\x1a\x00\x00\x00" + b"1.2.840.10008.5.1.4.1.1.2\0")
    assert names(inference_datalist(tmp_path / "series")) == ["series"]


def test_a_name_given_twice_in_a_list_is_refused_with_both_files(tmp_path):
    for folder in ("p1", "p2"):
        touch(tmp_path / folder / "scan.nii.gz")
    listed = [{"case": "a", "image": str(tmp_path / folder / "scan.nii.gz")} for folder in ("p1", "p2")]
    with pytest.raises(DataError, match=r"p1/scan\.nii\.gz, .*p2/scan\.nii\.gz: all are called a; rename"):
        inference_datalist(listed)


def test_a_given_name_stays_and_the_found_one_makes_way(tmp_path):
    for folder in ("p1", "p2"):
        touch(tmp_path / folder / "scan.nii.gz")
    listed = [{"case": "scan", "image": str(tmp_path / "p1/scan.nii.gz")}, str(tmp_path / "p2/scan.nii.gz")]
    assert names(inference_datalist(listed)) == ["scan", "p2_scan"]


def test_an_image_listed_twice_is_refused(tmp_path):
    image = touch(tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match=r"scan\.nii\.gz: is there 2 times; leave it once"):
        inference_datalist([image, image])


def test_patients_of_one_name_in_two_cohorts_are_told_apart_by_the_cohorts(tmp_path):
    for cohort in ("c1", "c2"):
        touch(tmp_path / cohort / "A/lgemri.nrrd")
    assert names(inference_datalist([tmp_path / "c1", tmp_path / "c2"])) == ["c1_A", "c2_A"]


def test_names_that_are_one_after_the_folders_are_added_are_refused(tmp_path):
    paths = [touch(tmp_path / name) for name in ("p1/scan.nii", "p2/scan.nii", "p1_scan.nii")]
    with pytest.raises(DataError, match=r"p1/scan\.nii, .*p1_scan\.nii: all are called scan"):
        inference_datalist(paths)


def test_one_name_for_a_folder_of_several_images_is_refused(tmp_path):
    touch(tmp_path / "in/a.nii.gz"), touch(tmp_path / "in/b.nii.gz")
    with pytest.raises(DataError, match="holds 2 images, which cannot all be case x"):
        inference_datalist([{"case": "x", "image": str(tmp_path / "in")}])


def test_how_many_inputs_of_how_many_are_refused_is_said(tmp_path):
    image = touch(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"2 of 3 inputs cannot be used(?s:.*)b\.nii: no such(?s:.*)c\.nii: no such"):
        inference_datalist([image, tmp_path / "b.nii", tmp_path / "c.nii"])
