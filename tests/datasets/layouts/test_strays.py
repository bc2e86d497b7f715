"""Data sets as they are after copying, unpacking and linking: every layout that exists, by the names of its files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from common.datasets import DataError, check_datalist, inference_datalist, labeled_cases
from common.datasets.layouts.registry import LAYOUTS
from common.files import files_of
from common.transforms import LoadImageAsVolumed

DECATHLON = ["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTr/b.nii.gz", "labelsTr/b.nii.gz"]
FILES = {
    "abdomenct1k": [f"all/Case_0000{n}{end}.nii.gz" for n in (1, 2) for end in ("_0000", "")],
    "atria2018": ["A/lgemri.nrrd", "A/laendo.nrrd", "B/lgemri.nrrd", "B/laendo.nrrd"],
    "bids": [
        f"{top}sub-0{n}/anat/sub-0{n}_{end}.nii.gz"
        for n in (1, 2)
        for top, end in (("", "T1w"), ("derivatives/labels/", "dseg"))
    ],
    "brats2020": [f"{p}/{p}_{kind}.nii.gz" for p in ("p1", "p2") for kind in ("flair", "t1", "t1ce", "t2", "seg")],
    "brats2023": [f"{p}/{p}-{kind}.nii.gz" for p in ("p1", "p2") for kind in ("t2f", "t1n", "t1c", "t2w", "seg")],
    "decathlon": DECATHLON,
    "flare21": [f"train_images/{p}_0000.nii.gz" for p in "ab"] + [f"train_mask/{p}.nii.gz" for p in "ab"],
    "images_labels": [f"{kind}/{p}.nii.gz" for p in "ab" for kind in ("images", "labels")],
    "datalist": [f"scans/{p}{end}.nii.gz" for p in "ab" for end in ("", "_label")],
    "lits": ["volume-1.nii", "segmentation-1.nii", "more/volume-2.nii.gz", "more/segmentation-2.nii.gz"],
    "msd_task01": DECATHLON,
    "nnunet": [f"{kind}.nii.gz" for p in "ab" for kind in (f"imagesTr/{p}_0000", f"labelsTr/{p}")],
    "task03_liver": DECATHLON,
}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def list_cases(folder: Path, pairs: list[tuple[str, str]], test: tuple[str, ...] = ()) -> None:
    modality = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    training = [{"image": image, "label": label} for image, label in pairs]
    (folder / "dataset.json").write_text(json.dumps({"modality": modality, "training": training, "test": list(test)}))


def write(folder: Path, files: list[str]) -> None:
    touch(*(folder / file for file in files))
    pairs = list(zip(files[::2], files[1::2], strict=True)) if len(files) == 4 else []
    if files[0].startswith("imagesTr/a_0000"):
        (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}))
    elif files[0].startswith("imagesTr"):
        list_cases(folder, pairs)
    elif files[0].startswith("scans"):
        lines = ["image,label", *(f"{image},{label}" for image, label in pairs)]
        (folder / "datalist.csv").write_text("\n".join(lines))


def datalist(layout: str, folder: Path) -> list[dict]:
    return LAYOUTS[layout](folder).cases


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


def test_what_copying_and_unpacking_leave_behind_is_ignored(layout, tmp_path):
    write(tmp_path, FILES[layout])
    clean = datalist(layout, tmp_path)
    for file in FILES[layout]:
        touch(
            (tmp_path / file).with_name(f"._{Path(file).name}"), tmp_path / "__MACOSX" / Path(file).parent / "._x.nii"
        )
        touch(*((tmp_path / file).with_name(name) for name in (".DS_Store", "Thumbs.db")))
    touch(tmp_path / "._A", tmp_path / ".DS_Store", tmp_path / "Thumbs.db")
    assert datalist(layout, tmp_path) == clean
    assert len(clean) == 2


def test_extensions_in_capitals_are_found(layout, tmp_path):
    files = []
    for file in FILES[layout]:
        stem, dot, extension = file.partition(".")
        files.append(stem + dot + extension.upper())
    write(tmp_path, files)
    found = [file for case in datalist(layout, tmp_path) for key in ("image", "label") for file in files_of(case[key])]
    there = {file for file in found if os.path.exists(file)}
    assert there == {str(tmp_path / file) for file in files}


def test_an_empty_folder_is_an_error_with_what_was_expected(layout, tmp_path):
    with pytest.raises(DataError, match="expected"):
        datalist(layout, tmp_path)


@pytest.mark.parametrize(
    "kind", ["no such file or folder", "a link that leads nowhere", "a pipe, a socket or a device"]
)
def test_an_image_that_is_not_there_or_no_file_is_named(layout, tmp_path, kind):
    write(tmp_path, FILES[layout])
    gone = files_of(datalist(layout, tmp_path)[0]["image"])[0]
    Path(gone).unlink()
    if "link" in kind:
        Path(gone).symlink_to("nowhere")
    if "pipe" in kind:
        os.mkfifo(gone)
    with pytest.raises(DataError, match=f"{gone}: {kind}"):
        check_datalist(datalist(layout, tmp_path))
    with pytest.raises(ValueError, match=f"{gone}: {kind}"):
        LoadImageAsVolumed("image")({"image": gone})


def test_a_folder_of_a_patient_that_is_a_link_to_nowhere_is_missed(tmp_path):
    write(tmp_path, FILES["atria2018"])
    (tmp_path / "C").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"3 of 3 cases .*(?s:.*)C/lgemri\.nrrd: no such file or folder"):
        check_datalist(datalist("atria2018", tmp_path))


def test_a_listed_test_image_that_is_missing_is_a_case_that_fails(tmp_path):
    write(tmp_path, FILES["decathlon"])
    list_cases(tmp_path, [], ("imagesTs/a.nii.gz", "imagesTs/b.nii.gz"))
    touch(tmp_path / "imagesTs/b.nii.gz")
    cases = {item["case"]: item["image"] for item in inference_datalist(tmp_path)}
    assert list(cases) == ["a", "b"]
    with pytest.raises(ValueError, match=r"imagesTs/a\.nii\.gz: no such file or folder"):
        LoadImageAsVolumed("image")({"image": cases["a"]})


def test_cases_of_one_name_are_refused_in_evaluation_too(tmp_path):
    pairs = [("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"), ("more/a.nii.gz", "more/a_label.nii.gz")]
    list_cases(tmp_path, pairs)
    touch(*(tmp_path / file for pair in pairs for file in pair))
    with pytest.raises(DataError, match=r"cannot be told apart(?s:.*)a: 2 cases have this id"):
        labeled_cases("decathlon", tmp_path)


def test_two_files_of_one_case_of_flare_are_refused(tmp_path):
    write(tmp_path, [*FILES["flare21"], "train_images/a_0000.NII.GZ"])
    with pytest.raises(DataError, match=r"a_0000\.NII\.GZ, .*a_0000\.nii\.gz: both are called a"):
        datalist("flare21", tmp_path)
