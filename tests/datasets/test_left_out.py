"""What is no image is passed over by name: never in silence, and never so that the program waits for it."""

from __future__ import annotations

import errno
import logging
import os
import socket
from pathlib import Path

import pytest

from common.datasets import DataError, inference_cases, inference_datalist
from common.datasets.folders import entries_of
from tests.datasets.test_formats import write_dicom


@pytest.fixture(autouse=True)
def _lines(caplog):
    caplog.set_level(logging.INFO)


def touch(*paths: Path) -> Path:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths[0]


def names(cases) -> list[str]:
    return [case["case"] for case in cases]


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # an address may have 108 characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


ODD = {
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
    "a link that leads to itself": a_loop,
    "a pipe, a socket or a device": os.mkfifo,
    "a folder named like an image": os.mkdir,
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_entries_are_named_five_of_them_and_how_many_more(tmp_path, caplog, kind):
    touch(tmp_path / "p1.nii.gz")
    for k in range(7):
        ODD[kind](tmp_path / f"odd{k}.nii.gz")
    assert names(inference_datalist(tmp_path)) == ["p1"]
    listed = ", ".join(f"odd{k}.nii.gz" for k in range(5))
    assert caplog.messages == [f"{tmp_path}: left out 7 ({kind}): {listed} and 2 more"]


def test_a_socket_is_named(tmp_path, caplog):
    touch(tmp_path / "p1.nii.gz")
    a_socket(tmp_path / "odd.nii.gz")
    assert names(inference_datalist(tmp_path)) == ["p1"]
    assert "left out 1 (a pipe, a socket or a device): odd.nii.gz" in caplog.text


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_entry_that_is_pointed_at_is_refused_with_what_it_is(tmp_path, kind):
    ODD[kind](tmp_path / "odd.nii.gz")
    with pytest.raises(DataError, match=r"odd\.nii\.gz: (holds no image|" + kind + ")"):
        inference_datalist([tmp_path / "odd.nii.gz"])


@pytest.mark.parametrize("name", ["list.txt", "list.json", "dataset.json"])
def test_a_pipe_in_place_of_a_list_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: a pipe, a socket or a device"):
        inference_datalist(tmp_path / name)


@pytest.mark.parametrize("name", ["locked.nii.gz", "locked"])
def test_what_may_not_be_read_is_named(tmp_path, caplog, monkeypatch, name):
    touch(tmp_path / "P1/lgemri.nrrd", tmp_path / "P1/x.nii.gz")
    locked = touch(tmp_path / name) if "." in name else write_dicom(tmp_path / name, range(2))
    readable = os.access  # root may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and readable(path, mode))
    assert names(inference_datalist(tmp_path)) == ["P1"]
    assert f"left out 1 (cannot be read: no permission): {name}" in caplog.text
    with pytest.raises(DataError, match=f"{name}: cannot be read: no permission"):
        inference_datalist(locked)


def test_a_folder_that_cannot_be_listed_is_refused_by_name(tmp_path, monkeypatch):
    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "listdir", stale)
    with pytest.raises(DataError, match=f"{tmp_path.name}: cannot be listed .Stale file handle"):
        entries_of(tmp_path)


def test_what_systems_leave_behind_is_not_worth_a_line(tmp_path, caplog):
    touch(tmp_path / "p1.nii.gz", tmp_path / "._p1.nii.gz", tmp_path / ".DS_Store", tmp_path / "Thumbs.db")
    touch(tmp_path / "__MACOSX/._p1.nii.gz", tmp_path / "desktop.ini")
    assert names(inference_datalist(tmp_path)) == ["p1"]
    assert caplog.messages == []


def test_labels_and_folders_beside_images_and_files_that_are_none_are_named(tmp_path, caplog):
    touch(tmp_path / "volume-1.nii", tmp_path / "segmentation-1.nii", tmp_path / "more/volume-2.nii")
    touch(tmp_path / "P1/lgemri.nrrd", tmp_path / "P1/laendo.nrrd")
    assert names(inference_datalist(tmp_path)) == ["volume-1"]
    assert "left out 1 (labels): segmentation-1.nii" in caplog.text
    assert "left out 2 (folders beside images): P1, more" in caplog.text


def test_predictions_beside_their_images_are_named_in_one_line(tmp_path, caplog):
    touch(*(tmp_path / f"p{k}{end}.nii.gz" for k in range(3) for end in ("", "_seg")), tmp_path / "own_seg.nii.gz")
    assert names(inference_cases(tmp_path, tmp_path / "out")) == ["own_seg", "p0", "p1", "p2"]
    expected = "left out 3 (*_seg, predictions of an earlier run): p0_seg.nii.gz, p1_seg.nii.gz, p2_seg.nii.gz"
    assert caplog.messages == [f"{tmp_path}: {expected}"]


@pytest.mark.parametrize("image", ["P1/lgemri.nrrd", "P1/IM1"])
def test_predictions_in_a_folder_of_patients_do_not_hide_the_patients(tmp_path, caplog, image):
    touch(tmp_path / image)
    if image == "P1/IM1":
        (tmp_path / image).write_bytes(b"\0" * 128 + b"DICM")
    touch(tmp_path / "P1_seg.nrrd", tmp_path / "failures.json", tmp_path / "pictures/P1.png")
    assert names(inference_cases(tmp_path, tmp_path)) == ["P1"]
    assert "left out 1 (*_seg, predictions of an earlier run): P1_seg.nrrd" in caplog.text


def test_a_prediction_in_the_folder_of_a_series_does_not_count(tmp_path):
    series = write_dicom(tmp_path / "S1", range(2))
    touch(series / "S1_seg.nii.gz")
    assert names(inference_cases(series, series)) == ["S1"]


def test_an_output_folder_within_the_input_folder_is_no_patient(tmp_path, caplog):
    touch(tmp_path / "P1/lgemri.nrrd", tmp_path / "out/P1_seg.nrrd")
    assert names(inference_cases(tmp_path, tmp_path / "out")) == ["P1"]
    assert "left out 1 (*_seg, predictions of an earlier run): P1_seg.nrrd" in caplog.text
    assert len(caplog.messages) == 1
