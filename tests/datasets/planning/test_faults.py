"""What a person may get wrong with a data set of their own is said in one line, by name, and no plan is left."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datasets import DataError
from common.datasets.planning import make as make_module
from common.datasets.planning import make_plan
from tests.datasets.planning.test_make import decathlon


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return decathlon(tmp_path / "data", {"1": "Front", "2": "Back"}, cases=5)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """The message by which a data set is refused: one line, and nothing is planned."""

    def message(folder: Path, bundle: str = "unet_liver_tumor", **options: object) -> str:
        with pytest.raises(DataError) as error:
            make_plan(tmp_path / "models", folder, bundle=bundle, **options)
        assert "\n" not in str(error.value) and not (tmp_path / "models/plan.json").exists()
        return str(error.value)

    return message


def plain(data: Path) -> Path:
    """The same cases as images/ and labels/, of which nothing is said."""
    for old, new in (("imagesTr", "images"), ("labelsTr", "labels")):
        (data / old).rename(data / new)
    (data / "dataset.json").unlink()
    return data


def change_listing(data: Path, **content: object) -> None:
    listing = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({**listing, **content}))


def rewrite(file: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, nib.load(file).affine), file)


@pytest.mark.parametrize("bundle", ["unet_liver_tumor", "vox2vox", "efficient_seg_net"])
def test_a_channel_that_one_case_lacks_is_named_with_its_case(bundle: str, data: Path, refused: Callable) -> None:
    images = plain(data) / "images"
    for file in list(images.iterdir()):
        shutil.copy(file, images / file.name.replace(".nii.gz", "_0001.nii.gz"))
        file.rename(images / file.name.replace(".nii.gz", "_0000.nii.gz"))
    (images / "c3_0001.nii.gz").unlink()
    assert refused(data, bundle).endswith(f"c3: {images}/c3_0001.nii.gz: no such file or folder")


def test_label_values_without_a_name_are_said_once_with_all_their_cases(data: Path, refused: Callable) -> None:
    change_listing(data, labels={"0": "background", "1": "Front"})
    text = refused(data)
    assert text.count("label value 2 not allowed; expected 0, 1; correct the labels, or name it") == 1
    assert text.startswith("5 of 5 cases") and text.endswith("the same in c1, c2, c3, c4")


def test_a_structure_that_no_case_has_is_named(data: Path, refused: Callable) -> None:
    change_listing(data, labels={"0": "background", "1": "Front", "2": "Back", "3": "Tail"})
    assert "Tail (3) is in none of the 5 labels" in refused(data)


def test_a_structure_that_only_held_out_cases_have_is_named_with_them(data: Path, refused: Callable) -> None:
    change_listing(data, labels={"0": "background", "1": "Front", "2": "Back", "3": "Tail"})
    label = np.asarray(nib.load(data / "labelsTr/c2.nii.gz").dataobj).copy()
    label[-2:, -2:, -2:] = 3
    rewrite(data / "labelsTr/c2.nii.gz", label)
    texts = set()
    for fold in range(5):  # the one case that has it is held out in one of them
        try:
            make_plan(data.parent / f"models{fold}", data, bundle="unet_liver_tumor", fold=fold)
        except DataError as error:
            texts.add(str(error))
    (text,) = texts
    assert "Tail (3) is in none of the 4 training cases, only in c2: choose another fold" in text


def test_ct_and_mr_in_one_folder_are_named_by_a_file_of_each(data: Path, refused: Callable) -> None:
    plain(data)
    for case in ("c1", "c4"):
        file = data / f"images/{case}.nii.gz"
        image = 200 * np.asarray(nib.load(file).dataobj) / 100 - 300
        image[:6] = -1000
        rewrite(file, image.astype(np.int16))
    text = refused(data)
    assert "two modalities" in text and "c0.nii.gz looks like MR" in text and "c1.nii.gz looks like CT" in text


@pytest.mark.parametrize("bundle", ["unet_liver_tumor", "vox2vox"])
def test_a_volume_far_smaller_than_the_smallest_patch_is_named(bundle: str, data: Path, refused: Callable) -> None:
    for kind in ("images", "labels"):
        file = data / f"{kind}Tr/c3.nii.gz"
        rewrite(file, np.asarray(nib.load(file).dataobj)[:, :, 6:8])
    divisor = {"unet_liver_tumor": "8 x 8 x 8", "vox2vox": "16 x 16 x 16"}[bundle]
    text = refused(data, bundle)
    assert f"smallest patch, {divisor} voxels" in text and f"{data}/imagesTr/c3.nii.gz has 2 x 28 x 24 voxels" in text


def test_a_volume_smaller_than_the_smallest_patch_is_padded_and_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    import common.datasets.planning.belongs as belongs

    monkeypatch.setattr(belongs.logger, "warning", lambda text, *values: said.append(text % values))
    for kind in ("images", "labels"):
        file = data / f"{kind}Tr/c3.nii.gz"
        rewrite(file, np.asarray(nib.load(file).dataobj)[:, :, 4:14])
    make_plan(tmp_path / "models", data, bundle="unet_liver_tumor")
    assert said == ["1 of 5 cases have fewer than 16 voxels along an axis and are padded: c3 (10 x 28 x 24)"]


def test_the_plan_of_another_bundle_is_refused_by_both_names(data: Path, tmp_path: Path) -> None:
    make_plan(tmp_path / "models", data, bundle="vox2vox")
    with pytest.raises(
        DataError, match=r"plan\.json: is the plan of a training of vox2vox, expected one of unet_liver"
    ):
        make_plan(tmp_path / "models", data, bundle="unet_liver_tumor")


def test_the_plan_of_a_data_set_with_other_structures_of_these_values_is_refused(data: Path, tmp_path: Path) -> None:
    make_plan(tmp_path / "models", data, bundle="unet_liver_tumor")
    other = decathlon(tmp_path / "other", {"1": "Spleen"})
    with pytest.raises(DataError, match=r"the structures Spleen \(1\), planned are Front \(1\), Back \(2\); remove it"):
        make_plan(tmp_path / "models", other, bundle="unet_liver_tumor")


def test_a_persons_own_names_of_structures_are_kept(data: Path, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, data, bundle="unet_liver_tumor")
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "structures": {"head": 1, "tail": 2}}))
    assert make_plan(tmp_path, data, bundle="unet_liver_tumor")["structures"] == {"head": 1, "tail": 2}


def test_no_name_of_a_file_is_in_a_plan(data: Path, tmp_path: Path) -> None:
    make_plan(tmp_path / "models", plain(data), bundle="unet_liver_tumor")
    assert not re.search(r"c\d|nii|/", (tmp_path / "models/plan.json").read_text())


def test_the_rules_see_the_cases_that_the_bundle_trains_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = np.asarray(nib.load(data / "labelsTr/c2.nii.gz").dataobj).copy()
    label[label == 2] = 1
    rewrite(data / "labelsTr/c2.nii.gz", label)
    measured: list[str] = []
    cases_of = make_module.measured_cases

    def noting(cases: list[dict], **options: object) -> object:
        measured.extend(case["case"] for case in cases)
        return cases_of(cases, **options)

    monkeypatch.setattr(make_module, "measured_cases", noting)
    plan = make_plan(tmp_path, data, bundle="unet_liver_tumor")
    assert plan["stratified_by"] == 2 and plan["may_be_absent"] == ["Back"]
    assert sorted(measured) == json.loads((tmp_path / "split.json").read_text())["folds"][0]["train"]


def test_cases_of_one_patient_are_held_out_together_in_the_plan_too(data: Path, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, data, bundle="vox2vox", groups="(c[0-3]?)", folds=2)
    assert plan["data"]["train"] + plan["data"]["held_out"] == 5
    with pytest.raises(ValueError, match="groups=x: has 0 groups in parentheses"):
        make_plan(tmp_path / "other", data, bundle="vox2vox", groups="x")
