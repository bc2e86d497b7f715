"""Whose plan a data set gets, what it says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datasets import DataError, find_plan
from common.datasets.planning import make_plan, plan_table
from common.phantoms import WRITERS

BUNDLES = sorted(path.parents[1].name for path in Path(__file__).parents[3].glob("bundles/*/configs/plan.json"))


def decathlon(folder: Path, labels: dict[str, str], *, modality: str = "MRI", cases: int = 3) -> Path:
    """A small data set: a box for each label, other voxels noise."""
    rng = np.random.default_rng(0)
    training = []
    for n in range(cases):
        image, label = rng.normal(100, 20, (24, 28, 32)).astype(np.float32), np.zeros((24, 28, 32), np.uint8)
        for value in map(int, labels):
            at = 4 * value
            label[at : at + 4, 4:20, 4:20] = value
            image[label == value] += 50 * value
        names = {"image": f"imagesTr/c{n}.nii.gz", "label": f"labelsTr/c{n}.nii.gz"}
        for (kind, name), array in zip(names.items(), (image, label), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.5, 1.0])), folder / name)
            assert kind
        training.append({key: f"./{name}" for key, name in names.items()})
    listing = {"modality": {"0": modality}, "labels": {"0": "background", **labels}, "training": training, "test": []}
    (folder / "dataset.json").write_text(json.dumps(listing))
    return folder


@pytest.fixture
def two_structures(tmp_path: Path) -> Path:
    return decathlon(tmp_path / "data", {"1": "Front", "2": "Back"})


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_papers_data_set_gets_the_papers_plan(bundle: str, tmp_path: Path) -> None:
    paper = dict(find_plan(tmp_path / "none", bundle=bundle))
    if bundle == "vnet_left_atrium":  # whose shipped weights have a plan of their own
        paper = json.loads((Path(__file__).parents[3] / f"bundles/{bundle}/configs/plan.json").read_text())
    WRITERS[paper["layout"]](str(tmp_path / "data"), 2, 0)
    plan = make_plan(tmp_path / "models", tmp_path / "data", bundle=bundle)
    assert {key: plan[key] for key in paper if key not in ("layout", "layouts", "traits")} == {
        key: value for key, value in paper.items() if key not in ("layout", "layouts", "traits")
    }


def test_another_data_set_is_planned_with_its_channels_and_structures_and_reasons(
    two_structures: Path, tmp_path: Path
) -> None:
    plan = make_plan(tmp_path / "models", two_structures, bundle="unet_liver_tumor")
    assert plan["channels"] == ["MRI"] and plan["modality"] == "MR" and plan["window"] is None
    assert plan["structures"] == {"Front": 1, "Back": 2} and plan["label_values"] == [0, 1, 2]
    assert plan["center_probabilities"].keys() == {"0", "1", "2"}
    assert sum(plan["center_probabilities"].values()) == pytest.approx(1, abs=2e-3)
    assert json.loads((tmp_path / "models/plan.json").read_text()) == plan
    assert set(plan["reasons"]) >= {"spacing", "patch", "epochs", "window"}
    assert "median of the cases" in plan_table(plan)


def test_a_plan_that_is_there_is_kept_as_a_person_edited_it(two_structures: Path, tmp_path: Path) -> None:
    make_plan(tmp_path, two_structures, bundle="unet_liver_tumor")
    edited = json.loads((tmp_path / "plan.json").read_text()) | {"spacing": [2.0, 2.0, 2.0]}
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    assert make_plan(tmp_path, two_structures, bundle="unet_liver_tumor")["spacing"] == [2.0, 2.0, 2.0]


def test_a_plan_for_another_data_set_is_refused_by_name(two_structures: Path, tmp_path: Path) -> None:
    make_plan(tmp_path / "models", two_structures, bundle="unet_liver_tumor")
    other = decathlon(tmp_path / "other", {"1": "a", "2": "b", "3": "c"})
    with pytest.raises(DataError, match=r"plan\.json: the plan is for another data set; .*\[0, 1, 2, 3\]"):
        make_plan(tmp_path / "models", other, bundle="unet_liver_tumor")


def test_the_rules_see_the_training_cases_alone(two_structures: Path, tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "models", two_structures, bundle="unet_liver_tumor", folds=3)
    assert plan["data"]["cases"] == 2


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_plan_is_found_without_data_from_any_folder(
    bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_plan(tmp_path / "nowhere", bundle=bundle)["roi_size" if bundle == "vnet_left_atrium" else "channels"]


def test_what_a_plan_lacks_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"plan\.json: spacing is missing"):
        find_plan(tmp_path, bundle="unet_liver_tumor")["spacing"]


def test_an_impossible_value_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"spacing": [0, 1, 1]}')
    with pytest.raises(ValueError, match=r"plan\.json: spacing must be three voxel sides above 0"):
        find_plan(tmp_path, bundle="unet_liver_tumor")
