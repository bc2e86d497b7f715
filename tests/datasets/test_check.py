"""Every fault of a data set, in one message."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from common.datasets import DataError, check_datalist, training_cases
from common.datasets import check as check_module

GOOD_AFFINE = np.diag([-1.25, -1.25, 2.5, 1.0])


def _truncate(path: str) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


def _truncated_gzip(write):
    item = write()
    _truncate(item["image"])
    return item


def _truncated_nrrd(write):
    item = write()
    item["image"] = item["image"].replace(".nii.gz", ".nrrd")
    header = {"space directions": np.eye(3), "space origin": np.zeros(3), "encoding": "gzip"}
    nrrd.write(item["image"], np.random.default_rng(0).normal(size=(6, 5, 4)), header)
    _truncate(item["image"])
    return item


def _missing_label(write):
    item = write()
    Path(item["label"]).unlink()
    return item


def _not_an_image(write):
    item = write()
    Path(item["image"]).write_text("no image")
    return item


def _values(value) -> np.ndarray:
    label = np.zeros((6, 5, 4), np.uint8)
    label[1, 1, 1], label[2, 2, 2] = 1, value
    return label


def _floats(value: float) -> np.ndarray:
    """A label of stored floats: 0, one that is 1 but for rounding, and this one."""
    label = np.zeros((6, 5, 4), np.float64)
    label[1, 1, 1], label[2, 2, 2] = 0.9995, value
    return label


def _with_nan() -> np.ndarray:
    image = np.ones((6, 5, 4), np.float32)
    image[0, 0, 0], image[1, 1, 1] = np.nan, np.inf
    return image


FAULTS = {
    "truncated gzip": (_truncated_gzip, "image", "cannot be read"),
    "truncated nrrd": (_truncated_nrrd, "image", "cannot be read"),
    "not an image": (_not_an_image, "image", "cannot be read"),
    "missing label": (_missing_label, "label", "no such file or folder"),
    "shapes differ": (
        lambda w: w(label=_values(1)[:5]),
        "label",
        r"shape (5, 5, 4) differs from the image's (6, 5, 4)",
    ),
    "affines differ": (
        lambda w: w(label_affine=np.eye(4)),
        "label",
        "affine differs from the image's, by up to 15.09 mm",  # of the corner (5, 4, 3): |(11.25, 9, -4.5)|
    ),
    "label value": (lambda w: w(label=_values(7)), "label", "label value 7 not allowed; expected 0, 1"),
    "empty label": (lambda w: w(label=np.zeros((6, 5, 4), np.uint8)), "label", "label is empty"),
    "label of NaN": (lambda w: w(label=_floats(np.nan)), "label", "label value nan not allowed; expected 0, 1"),
    "label of halves": (lambda w: w(label=_floats(0.5)), "label", "label value 0.5 not allowed"),
    "constant": (lambda w: w(image=np.full((6, 5, 4), 7, np.int16)), "image", "constant image: every voxel is 7"),
    "infinite as float32": (lambda w: w(image=_floats(1e39)), "image", "1 voxels are not finite"),
    "complex": (lambda w: w(image=np.ones((6, 5, 4), np.complex64)), "image", "holds colors or complex numbers"),
    "NaN": (lambda w: w(image=_with_nan()), "image", "2 voxels are not finite"),
    "2 channels": (lambda w: w(image=np.ones((6, 5, 4, 2), np.float32)), "image", "has 2 channels, expected 1"),
    "2-D": (lambda w: w(image=np.ones((6, 5), np.float32)), "image", "not a 3-D volume (6 x 5 voxels)"),
    "one slice": (lambda w: w(image=np.ones((6, 5, 1), np.float32)), "image", "not a 3-D volume (6 x 5 x 1 voxels)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_message_names_the_file_and_its_fault(write_case, fault):
    make, key, text = FAULTS[fault]
    item = make(write_case)
    with pytest.raises(DataError) as error:
        check_datalist([item])
    assert f"a: {item[key]}: {text}" in str(error.value)


def test_a_good_case_passes(write_case):
    check_datalist([write_case()])


def test_floats_that_are_whole_but_for_rounding_are_these_numbers(write_case):
    check_datalist([write_case(label=_floats(0.9991))])


def test_of_several_channels_none_may_be_constant_but_blocks_of_one_value_may(write_case):
    channels = np.random.default_rng(0).normal(size=(6, 5, 4, 2)).astype(np.float32)
    channels[:3] = 0
    check_datalist([write_case("a", image=channels)], channels=2)
    channels[..., 1] = 0
    with pytest.raises(DataError, match="constant image: every voxel of channel 1 is 0"):
        check_datalist([write_case("b", image=channels)], channels=2)


def test_an_image_without_a_label_passes(write_case):
    item = write_case()
    del item["label"]
    check_datalist([item])


def test_one_message_names_every_bad_case_and_no_good_one(write_case):
    items = [write_case("good"), write_case("b", label=_values(7)), write_case("c", image=_with_nan())]
    with pytest.raises(DataError) as error:
        check_datalist(items)
    text = str(error.value)
    assert text.startswith("2 of 3 cases cannot be used")
    assert [line.split(":")[0].strip() for line in text.splitlines()[1:]] == ["b", "c"]


def test_one_case_with_two_faults_is_named_with_both(write_case):
    item = write_case(image=_with_nan(), label=_values(7))
    with pytest.raises(DataError, match=r"(?s)not finite.*label value 7"):
        check_datalist([item])


def test_a_case_id_that_two_cases_have_is_named(write_case):
    items = [write_case("a"), {**write_case("b"), "case": "a"}]
    with pytest.raises(DataError, match="a: 2 cases have this id"):
        check_datalist(items)


def test_affines_that_differ_by_rounding_are_one(write_case):
    affine = GOOD_AFFINE.copy()
    affine[:3, 3] = 0.002  # mm; headers are float32
    check_datalist([write_case(label_affine=affine)])


def test_affines_that_differ_by_a_tenth_of_a_voxel_are_two(write_case):
    affine = GOOD_AFFINE.copy()
    affine[2, 3] = 0.125  # of 1.25 mm, the smallest side
    with pytest.raises(DataError, match=r"affine differs from the image's, by up to 0\.125 mm"):
        check_datalist([write_case(label_affine=affine)])


def test_an_nrrd_with_two_channels_is_named_so(write_case, tmp_path):
    item = write_case()
    item["image"] = str(tmp_path / "two.nrrd")
    directions = np.vstack([[np.nan] * 3, np.eye(3)])
    header = {"space": "left-posterior-superior", "kinds": ["vector", "domain", "domain", "domain"]}
    header |= {"space directions": directions, "space origin": np.zeros(3)}
    nrrd.write(item["image"], np.ones((2, 6, 5, 4), np.float32), header)
    with pytest.raises(DataError, match="has 2 channels, expected 1"):
        check_datalist([item])


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The files that the check has read."""
    paths: list[str] = []
    original = check_module.read_volume
    monkeypatch.setattr(check_module, "read_volume", lambda path, faults: paths.append(path) or original(path, faults))
    return paths


def test_good_cases_are_not_read_again(write_case, tmp_path, reads):
    items = [write_case("a"), write_case("b")]
    for _ in range(2):
        check_datalist(items, cache_file=tmp_path / "checked.json")
    assert len(reads) == 4


def test_a_second_start_reads_no_unchanged_file(tmp_path, reads):
    header = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)}
    for n in range(6):
        (tmp_path / f"data/p{n}").mkdir(parents=True)
        for name, volume in (("lgemri", _values(2)), ("laendo", _values(1))):
            nrrd.write(str(tmp_path / f"data/p{n}/{name}.nrrd"), volume, header)
    for _ in range(2):
        assert len(training_cases("atria2018", tmp_path / "data", cache_dir=tmp_path / "cache")) == 6
    assert len(reads) == 12  # all of them in the first start


def test_bad_cases_are_read_again(write_case, tmp_path, reads):
    items = [write_case("a"), write_case("b", label=_values(7))]
    for _ in range(2):
        with pytest.raises(DataError, match="label value 7"):
            check_datalist(items, cache_file=tmp_path / "checked.json")
    assert sorted(reads) == sorted([*items[0].values()][1:] + [*items[1].values()][1:] * 2)


def test_a_changed_file_is_read_again(write_case, tmp_path):
    check_datalist([write_case()], cache_file=tmp_path / "checked.json")
    item = write_case(label=_values(7))
    with pytest.raises(DataError, match="label value 7"):
        check_datalist([item], cache_file=tmp_path / "checked.json")


def test_other_allowed_values_mean_a_new_check(write_case, tmp_path):
    item = write_case(label=_values(7))
    check_datalist([item], label_values=(0, 1, 7), cache_file=tmp_path / "checked.json")
    with pytest.raises(DataError, match="label value 7"):
        check_datalist([item], cache_file=tmp_path / "checked.json")


def test_a_verdict_by_earlier_rules_counts_no_more(write_case, tmp_path, reads, monkeypatch):
    items = [write_case()]
    with monkeypatch.context() as earlier:
        earlier.setattr(check_module, "RULES", 1)
        check_datalist(items, cache_file=tmp_path / "checked.json")
    check_datalist(items, cache_file=tmp_path / "checked.json")
    assert len(reads) == 4  # both files twice


def test_a_damaged_memory_is_no_obstacle(write_case, tmp_path):
    (tmp_path / "checked.json").write_text("{")
    check_datalist([write_case()], cache_file=tmp_path / "checked.json")
    assert json.loads((tmp_path / "checked.json").read_text())


def test_a_mha_volume_is_read_too(write_case, tmp_path):
    import itk

    item = write_case()
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(_values(9).T)), str(tmp_path / "a.mha"))
    nib.save(nib.Nifti1Image(_values(1), np.diag([-1.0, -1.0, 1.0, 1.0])), item["label"])
    check_datalist([{**item, "image": str(tmp_path / "a.mha")}])


def test_verdicts_that_cannot_be_remembered_cost_no_training(write_case, tmp_path, caplog):
    (tmp_path / "cache").touch()
    check_datalist([write_case()], cache_file=tmp_path / "cache/checked.json")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == f"{tmp_path / 'cache/checked.json'}: cannot be written (File exists)"


def hounsfield(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1024, 1500, (6, 5, 4)).astype(np.int16)


def magnetic(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, (6, 5, 4)).astype(np.int16)


@pytest.mark.parametrize("starts", [1, 2])
def test_a_ct_among_mr_images_is_named_with_one_of_them_at_every_start(write_case, tmp_path, starts):
    items = [write_case("a", image=magnetic()), write_case("b", image=hounsfield()), write_case("c", image=magnetic())]
    for _ in range(starts):
        with pytest.raises(DataError) as error:
            check_datalist(items, cache_file=tmp_path / "checked.json")
    assert "two modalities: " in str(error.value)
    assert f"{items[1]['image']} looks like CT, {items[0]['image']} looks like MR" in str(error.value)


def test_a_doubtful_image_is_of_no_other_modality(write_case):
    clipped = np.random.default_rng(0).integers(-125, 275, (6, 5, 4)).astype(np.int16)
    eight_bit = np.random.default_rng(0).integers(0, 255, (6, 5, 4)).astype(np.uint8)
    check_datalist(
        [write_case("a", image=hounsfield()), write_case("b", image=clipped), write_case("c", image=eight_bit)]
    )


def test_a_ct_and_an_mr_channel_in_every_case_are_no_mixture(write_case):
    image = np.stack([hounsfield(), magnetic()], axis=-1)
    check_datalist([write_case("a", image=image), write_case("b", image=image)], channels=2)


@pytest.mark.parametrize("starts", [1, 2])
def test_a_structure_that_no_label_has_is_named_at_every_start(write_case, tmp_path, starts):
    items = [write_case("a", label=_values(1)), write_case("b", label=_values(2))]
    structures = {"liver": 1, "tumor": 2, "vessels": 3, "all": [1, 2, 3], "bones": [3, 4]}
    for _ in range(starts):
        with pytest.raises(DataError) as error:
            check_datalist(items, label_values=range(5), structures=structures, cache_file=tmp_path / "checked.json")
    lines = str(error.value).splitlines()
    assert lines[0] == "the data set cannot be used as it is:"
    assert [line.split(" is in none of the 2 labels")[0] for line in lines[1:]] == ["  vessels (3)", "  bones (3, 4)"]


def test_structures_that_all_occur_pass(write_case):
    structures = {"liver": 1, "tumor": 2}
    items = [write_case("a", label=_floats(1)), write_case("b", label=_values(2))]
    check_datalist(items, label_values=(0, 1, 2), structures=structures)


def test_a_structure_that_the_data_set_names_and_no_case_has_ends_the_training_before_it_begins(write_case, tmp_path):
    item = write_case("a", label=_values(1))
    listing = {"labels": {"background": 0, "liver": 1, "tumor": 2}, "training": [item]}
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    with pytest.raises(DataError, match=r"tumor \(2\) is in none of the 1 labels"):
        training_cases("auto", tmp_path, label_values=(0, 1, 2))


def test_a_label_value_that_dataset_json_does_not_name_is_named_with_its_file(write_case, tmp_path):
    item = write_case("a", label=_values(7))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1}, "training": [item]}))
    with pytest.raises(DataError, match=rf"{item['label']}: label value 7 not allowed; expected 0, 1"):
        training_cases("auto", tmp_path, label_values=(0, 1))
