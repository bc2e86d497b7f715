"""What inference can be pointed at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.datasets import DataError, inference_datalist


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _dicom(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("IM1", "IM2"):
        (folder / name).write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 8)
    return folder


def _cases(source) -> dict[str, str]:
    return {item["case"]: item["image"] for item in inference_datalist(source)}


def test_a_folder_stands_for_its_images(tmp_path):
    _touch(tmp_path / "b.nrrd", tmp_path / "a.nii.gz", tmp_path / "notes.txt", tmp_path / ".hidden.nii.gz")
    assert _cases(tmp_path) == {"a": str(tmp_path / "a.nii.gz"), "b": str(tmp_path / "b.nrrd")}


def test_a_challenge_folder_stands_for_its_patients_without_labels(challenge_folder):
    assert _cases(challenge_folder) == {p: str(challenge_folder / p / "lgemri.nrrd") for p in ("A", "B")}


def test_a_patients_folder_stands_for_the_patient(challenge_folder):
    assert _cases(challenge_folder / "B") == {"B": str(challenge_folder / "B" / "lgemri.nrrd")}


def test_a_folder_of_dicom_files_is_one_case_whatever_their_names(tmp_path):
    series = _dicom(tmp_path / "series7")
    assert _cases(series) == {"series7": str(series)}


def test_a_folder_of_series_stands_for_each(tmp_path):
    series = [_dicom(tmp_path / name) for name in ("s1", "s2")]
    assert list(_cases(tmp_path).values()) == [str(s) for s in series]


@pytest.mark.parametrize(("test", "expected"), [(["./imagesTs/t.nii.gz"], ["t"]), ([], ["a"])])
def test_a_decathlon_folder_stands_for_its_test_images_or_else_for_those_of_its_training(tmp_path, test, expected):
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": training, "test": test}))
    _touch(tmp_path / "imagesTr/._a.nii.gz", tmp_path / "imagesTr/a.nii.gz", tmp_path / "imagesTs/t.nii.gz")
    assert list(_cases(tmp_path)) == expected


def test_a_lits_folder_stands_for_its_volumes_without_segmentations(tmp_path):
    _touch(tmp_path / "volume-3.nii", tmp_path / "segmentation-3.nii")
    assert list(_cases(tmp_path)) == ["volume-3"]


def test_a_file_is_one_case(tmp_path):
    _touch(tmp_path / "scan.1.nii.gz")
    assert _cases(str(tmp_path / "scan.1.nii.gz")) == {"scan.1": str(tmp_path / "scan.1.nii.gz")}


def test_a_list_keeps_its_order(tmp_path):
    _touch(tmp_path / "b.nii", tmp_path / "a.mha")
    assert list(_cases([tmp_path / "b.nii", str(tmp_path / "a.mha")])) == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# two scans\na.nii\n\nsub/b.nii\n"),
        ("list.json", json.dumps(["a.nii", "sub/b.nii"])),
        ("cases.json", json.dumps([{"case": "a", "image": "a.nii"}, {"case": "b", "image": "sub/b.nii"}])),
    ],
)
def test_paths_in_a_list_file_are_relative_to_it(tmp_path, name, text):
    _touch(tmp_path / "a.nii", tmp_path / "sub" / "b.nii")
    (tmp_path / name).write_text(text)
    assert _cases(tmp_path / name) == {"a": str(tmp_path / "a.nii"), "b": str(tmp_path / "sub" / "b.nii")}


def test_a_dicom_file_keeps_the_dots_of_its_name(tmp_path):
    series = _dicom(tmp_path / "in")
    for name in ("1.2.840.1", "1.2.840.2", "3.dcm"):
        (series / "IM1").with_name(name).write_bytes((series / "IM1").read_bytes())
    assert list(_cases([series / name for name in ("1.2.840.1", "1.2.840.2", "3.dcm")])) == [
        "1.2.840.1",
        "1.2.840.2",
        "3",
    ]


def test_a_subfolder_without_an_image_is_named_in_a_warning(tmp_path, caplog):
    _dicom(tmp_path / "s1")
    (tmp_path / "s2").mkdir()
    assert list(_cases(tmp_path)) == ["s1"]
    assert "left out 1 (a folder with neither lgemri.nrrd nor a DICOM series): s2" in caplog.text


def test_a_folder_of_dicom_and_other_images_is_refused(tmp_path):
    series = _dicom(tmp_path / "series")
    _touch(series / "mask.nii.gz")
    with pytest.raises(DataError, match="series: holds DICOM files and other images"):
        inference_datalist(series)


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / "p1" / "scan.nii", tmp_path / "p2" / "scan.nii"]
    _touch(*paths)
    assert list(_cases(paths)) == ["p1_scan", "p2_scan"]


def test_images_that_cannot_be_told_apart_are_refused(tmp_path):
    paths = [tmp_path / "scan.nii", tmp_path / "scan.nrrd"]
    _touch(*paths)
    with pytest.raises(DataError, match=r"scan\.nii, .*scan\.nrrd: all are called scan; rename"):
        inference_datalist(tmp_path)


def test_all_that_is_missing_is_named_in_one_message(tmp_path):
    _touch(tmp_path / "a.nii", tmp_path / "c.txt")
    with pytest.raises(DataError) as error:
        inference_datalist([tmp_path / "a.nii", tmp_path / "b.nii", tmp_path / "c.jpg"])
    text = str(error.value)
    assert "b.nii: no such file or folder" in text and "c.jpg" in text and "a.nii:" not in text


def test_one_image_twice_is_said_to_be_that(tmp_path):
    _touch(tmp_path / "a.nii")
    (tmp_path / "list.txt").write_text(f"a.nii\n../{tmp_path.name}/a.nii\n")
    with pytest.raises(DataError, match=r"a\.nii: is there 2 times; leave it once$"):
        inference_datalist(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [("list.txt", "~/a.nii\n"), ("list.json", '["~/a.nii"]'), ("cases.json", '[{"case": "a", "image": "~/a.nii"}]')],
)
def test_a_list_names_the_home_folder_as_a_shell_does(tmp_path, monkeypatch, name, text):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    _touch(tmp_path / "home/a.nii")
    (tmp_path / name).write_text(text)
    assert _cases(tmp_path / name) == {"a": str(tmp_path / "home/a.nii")}
    _touch(tmp_path / "~/a.nii")
    assert _cases(tmp_path / name) == {"a": str(tmp_path / "~/a.nii")}


@pytest.mark.parametrize(
    "content",
    ["", "[" * 100_000, '{"image": "a.nii"}', "{}", "[3]", "[]", "{", '[""]'],
    ids=lambda text: text[:20] or "empty",
)
def test_a_list_file_of_another_form_is_named(tmp_path, content):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(DataError, match=r"list\.json"):
        inference_datalist(tmp_path / "list.json")


def test_an_empty_folder_is_named_with_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path.name}: holds no image; expected files .nii.gz"):
        inference_datalist(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(DataError, match=r"a\.pdf: not an image"):
        inference_datalist(tmp_path / "a.pdf")
