"""What is particular to EfficientSegNet's bundle: two fixed grids, the direction of its arrays, and its schedule."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from common.kernels import Adam
from common.transforms import CropToBoxd, LabelBox, RandLabelBoxCropd

BUNDLE = Path(__file__).parents[2] / "bundles/efficient_seg_net"
CONFIGS = BUNDLE / "configs"
SIGNS = list(product((1, -1), repeat=3))
SHAPE, SPACING = (64, 60, 40), (2.5, 2.5, 4.0)  # of the made-up scan, x, y, z
GRID = [48, 56, 64]  # sides that differ, so that axes cannot be mistaken
PLAN = {
    "grid": GRID,
    "coarse_grid": [24, 32, 16],
    "window": [-325, 325],
    "margin": 20.0,
    "components": [1, 2, 1, 1],
    "coarse_min_size": 1000.0,
    "min_size": 2000.0,
    "min_size_unit": "mm3",
    "demonstration_only": True,
}


def parsed(*names: str, **settings: Any) -> ConfigParser:
    """Config files as ``monai.bundle run`` merges them, with ``--name value`` for the settings."""
    config = ConfigParser()
    config.read_config([CONFIGS / name for name in names])
    config.read_meta(CONFIGS / "metadata.json")
    config.update({"device": "cpu", "amp": False, "num_workers": 0, **settings})
    return config


def content(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text())


def body() -> tuple[np.ndarray, np.ndarray]:
    """A scan in HU and its labels (x to the right, y to the front, z to the head): two blocks in noise."""
    rng = np.random.default_rng(0)
    image, label = rng.normal(-100, 20, SHAPE), np.zeros(SHAPE, np.uint8)
    image[20:44, 16:44, 10:32], label[20:44, 16:44, 10:32] = 150, 1
    image[38:44, 30:44, 24:32], label[38:44, 30:44, 24:32] = 40, 4
    return np.rint(image).astype(np.int16), label


def stored(path: Path, array: np.ndarray, signs: tuple[int, ...]) -> str:
    """The same patient, stored with each axis in its own or the opposite direction."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -70, -50, 12
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    nib.save(nib.Nifti1Image(array, affine), path)
    return str(path)


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    """The files of one case, stored to the left, the back and the head."""
    image, label = body()
    files = {key: stored(tmp_path / f"{key}.nii.gz", v, (-1, -1, 1)) for key, v in (("image", image), ("label", label))}
    return {"case": "made_up", **files}


class Recorder(nn.Module):
    """Remembers what it got, and says that each organ is everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(torch.Tensor.as_subclass(x, Tensor).clone())
        return x.new_ones((1, 4, *x.shape[2:]))


class Halves(nn.Module):
    """Organs by place: bright voxels of the upper half are liver, else of the front half spleen, else of the right
    half pancreas, along the axes as the paper's arrays have them: (z, y, x) to the head, the front and the right."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[0, 0] > 1.2
        box = bright.nonzero()
        middle = (box.min(dim=0).values + box.max(dim=0).values) / 2
        upper, front, right = (
            (torch.arange(n) > m).reshape([-1 if k == axis else 1 for k in range(3)]).expand(bright.shape)
            for axis, (n, m) in enumerate(zip(bright.shape, middle, strict=True))
        )
        none = torch.zeros_like(bright)
        masks = torch.stack([upper, none, ~upper & front, ~upper & ~front & right]) & bright
        return masks[None].float() * 20 - 10


def test_networks_have_the_parameters_of_the_paper() -> None:
    for key, parameters in {"network_def": 9_366_016, "coarse#network": 2_676_480}.items():
        network = parsed("train.json").get_parsed_content(key)
        assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("suffix", ["", "sample"])
def test_the_coarse_network_and_its_grid_are_the_same_wherever_it_is_trained_or_used(suffix: str) -> None:
    overlays = (["sample_coarse.json"], ["sample.json"]) if suffix else ([], [])
    trained = parsed("train_coarse.json", *overlays[0])
    used = parsed("train.json", *overlays[1])
    assert trained["network_def"] == used["coarse#network"]
    for key in ("coarse_grid", "window", "split", "layout", "cases"):
        assert trained[key] == used[key]
    normalize = json.dumps(trained["normalize"]).replace("@window", "@recorded['window']")
    assert json.loads(normalize) == used["normalize"]


def test_the_whole_pipeline_is_the_same_in_evaluation_and_prediction() -> None:
    train, inference = content("train.json"), content("inference.json")
    for name in ("label_values", "class_values"):
        assert train["load"].pop(name) in (
            "$list(@class_of)",
            "@class_of",
        )  # what is loaded of an image does not depend on it
    for key in ("coarse", "forward", "load", "normalize"):
        assert train[key] == inference[key]


def test_what_is_kept_of_a_scan_is_all_that_a_random_crop_needs() -> None:
    config = parsed("train.json", recorded=PLAN)
    crop = config.get_parsed_content("random_crop")
    assert isinstance(crop, RandLabelBoxCropd)
    (kept,) = [t for t in config.get_parsed_content("cached").transforms if isinstance(t, CropToBoxd)]
    assert kept.locate.margin == crop.reach == 40
    assert (crop.margin, crop.prob, crop.symmetric) == (20, 0.5, False)


def test_training_without_luck_sees_what_validation_sees(case: dict[str, str], tmp_path: Path) -> None:
    """Scans are kept as whole HU: nothing is lost by that."""
    config = parsed("train.json", recorded=PLAN, **{"random_crop#prob": 0.0, "organ_shift#transforms#0#prob": 0.0})
    train, validate = (config.get_parsed_content(f"{part}#preprocessing")(dict(case)) for part in ("train", "validate"))
    torch.testing.assert_close(train["image"].as_tensor(), validate["image"].as_tensor(), atol=1e-6, rtol=0)
    assert torch.equal(train["label"], validate["label"])
    assert sorted(train["label"].unique().tolist()) == [0, 1, 4]


def test_both_networks_see_in_prediction_what_they_see_in_training(case: dict[str, str], tmp_path: Path) -> None:
    """The fine one where the crop is the labels' box."""
    coarse, fine = Recorder(), Recorder()
    config = parsed("inference.json", recorded=PLAN, **{"coarse#weights": None})
    image = config.get_parsed_content("load")({"image": case["image"]})["image"]
    label = parsed("train.json").get_parsed_content("load")(dict(case))["label"]
    locate = config.get_parsed_content("coarse")
    locate.network = coarse
    locate(image)
    inferer = config.get_parsed_content("inferer")
    inferer.locate = lambda volume: LabelBox(20)(label)
    inferer(image[None], fine)
    expected = parsed("train_coarse.json", coarse_grid=PLAN["coarse_grid"])
    expected = expected.get_parsed_content("validate#preprocessing")(dict(case))["image"]
    torch.testing.assert_close(coarse.inputs[0][0], expected.as_tensor(), atol=1e-5, rtol=0)
    expected = parsed("train.json", recorded=PLAN).get_parsed_content("validate#preprocessing")(dict(case))["image"]
    torch.testing.assert_close(fine.inputs[0][0], expected.as_tensor(), atol=1e-5, rtol=0)


def test_intensities_are_clipped_at_325_hu_after_resizing_and_before_the_z_score() -> None:
    volume = torch.tensor([-1000.0, -325.0, 0.0, 325.0, 3000.0]).reshape(1, 5, 1, 1)
    clipped = volume.clip(-325, 325)
    expected = (clipped - clipped.mean()) / clipped.std(unbiased=False)
    normalized = parsed("train.json", recorded=PLAN).get_parsed_content("normalize")(volume)
    torch.testing.assert_close(normalized, expected)


def test_a_constant_volume_becomes_zero() -> None:
    normalized = parsed("train.json", recorded=PLAN).get_parsed_content("normalize")(torch.full((1, 4, 4, 4), 40.0))
    assert not normalized.any()


def test_organs_lie_in_the_patient_where_the_networks_saw_them_whatever_the_files_directions(tmp_path: Path) -> None:
    image, label = body()
    (tmp_path / "in").mkdir()
    names = ["".join("+" if sign > 0 else "-" for sign in signs) for signs in SIGNS]
    for name, signs in zip(names, SIGNS, strict=True):
        stored(tmp_path / f"in/{name}_0000.nii.gz", image, signs)
    config = parsed("inference.json", recorded=PLAN, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    config.update({"network_def": Halves(), "coarse#network": Halves(), "coarse#weights": None, "pictures": 0})
    config.update({"handlers": []})
    config.get_parsed_content("evaluator").run()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []

    expected = np.zeros(SHAPE, np.uint8)
    x, y, z = np.indices(SHAPE)
    bright = label == 1
    middle = [(v[bright].min() + v[bright].max()) / 2 for v in (x, y, z)]
    expected[bright & (x > middle[0])] = 4
    expected[bright & (y > middle[1])] = 3
    expected[bright & (z > middle[2])] = 1
    for name, signs in zip(names, SIGNS, strict=True):
        given, found = (nib.load(tmp_path / file) for file in (f"in/{name}_0000.nii.gz", f"out/{name}_seg.nii.gz"))
        np.testing.assert_allclose(found.affine, given.affine, atol=1e-4)
        assert found.get_data_dtype() == np.uint8
        array = np.asarray(found.dataobj)
        for axis, sign in enumerate(signs):
            array = np.flip(array, axis) if sign < 0 else array
        for value in (1, 3, 4):
            a, b = array == value, expected == value
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9, (name, value)


def test_an_empty_coarse_mask_leaves_the_whole_volume_to_the_fine_network(
    case: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    fine = Recorder()
    config = parsed("inference.json", recorded=PLAN, **{"coarse#weights": None})
    image = config.get_parsed_content("load")({"image": case["image"]})["image"]
    inferer = config.get_parsed_content("inferer")
    inferer.locate.network = lambda x: -torch.ones(1, 4, *x.shape[2:])
    masks = inferer(image[None], fine)
    assert masks.all()
    assert masks.shape[2:] == image.shape[1:]
    assert "found nothing" in caplog.text


def test_the_learning_rate_falls_to_a_tenth_after_132_of_200_epochs_and_to_a_twentieth_after_172() -> None:
    config = parsed("train.json", network_def=nn.Conv3d(1, 4, 1))
    optimizer, schedule = config.get_parsed_content("optimizer"), config.get_parsed_content("lr_scheduler")
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [rates[n] for n in (0, 132, 133, 172, 173, 199)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 5e-5, 5e-5])


@pytest.mark.parametrize("name", ["train.json", "train_coarse.json"])
def test_the_optimizer_is_the_papers_adam(name: str) -> None:
    optimizer = parsed(name, network_def=nn.Conv3d(1, 4, 1)).get_parsed_content("optimizer")
    assert type(optimizer) is Adam
    settings = {key: optimizer.defaults[key] for key in ("lr", "betas", "weight_decay")}
    assert {**settings, "betas": tuple(settings["betas"])} == {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 5e-5}


@pytest.mark.parametrize("name", ["train.json", "train_coarse.json"])
def test_an_epoch_of_the_published_fold_has_each_of_its_23_lesion_cases_four_times(name: str, tmp_path: Path) -> None:
    cases = [{"case": f"train_{n:03d}"} for n in range(361)]
    config = parsed(name, cases=cases, ckpt_dir=str(tmp_path), cache_dir=None)
    config.update({"train#preprocessing": None})
    names = [item["case"] for item in config.get_parsed_content("train#dataset#data")]
    assert len(names) == 288 + 3 * 23
    assert names.count("train_002") == 4
    assert names.count("train_000") == 1


@pytest.mark.parametrize(
    "names",
    [("train.json", "augmentation.json"), ("train_coarse.json", "augmentation_coarse.json")],
    ids=["fine", "coarse"],
)
def test_all_augmentations_together_keep_image_and_label_in_step(names: tuple[str, str], tmp_path: Path) -> None:
    fine = names[0] == "train.json"
    _, label = body()
    files = {"label": stored(tmp_path / "label.nii.gz", label, (1, 1, 1))}
    files["image"] = stored(tmp_path / "image.nii.gz", np.where(label, 100, -100).astype(np.int16), (1, 1, 1))
    config = parsed(*names, coarse_grid=[24, 28, 32], **({"recorded": {**PLAN, "grid": [24, 28, 32]}} if fine else {}))
    config.update({"organ_shift#transforms#0#prob" if fine else "augmentation#transforms#2#prob": 0.0})
    preprocessing = config.get_parsed_content("train#preprocessing").set_random_state(1)
    seen = [preprocessing({"case": "made_up", **files}) for _ in range(4)]
    for data in seen:
        assert data["label"].dtype == torch.uint8
        image, found = data["image"].numpy(), data["label"].numpy() > 0
        image = image > (image.min() + image.max()) / 2
        assert 2 * (image & found).sum() / (image.sum() + found.sum()) > 0.9
    assert not all(torch.equal(data["label"], seen[0]["label"]) for data in seen)


@pytest.mark.parametrize("bundle", [BUNDLE], indirect=True, ids=lambda path: path.name)
def test_evaluation_of_the_whole_pipeline_reports_four_organs_and_what_each_case_costs(
    bundle: Path, sample_data: Path, trained: Path, run_bundle: Callable, tmp_path: Path
) -> None:
    paths = {"dataset_dir": sample_data, "ckpt_dir": trained / "models", "output_dir": tmp_path}
    done = run_bundle(bundle, "run", "train.json", "sample.json", "evaluate.json", device="cpu", num_workers=0, **paths)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "failures.json").read_text()) == []
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert len({row["case"] for row in report["cases"]}) == 2  # of six cases, fold 0 of 5
    assert report["tolerance_mm"] == 1
    assert set(report["summary"]) == {"liver", "kidney", "spleen", "pancreas"}
    for row in report["cases"]:
        mask = nib.load(sample_data / f"train_mask/{row['case']}.nii.gz")
        value = ["liver", "kidney", "spleen", "pancreas"].index(row["structure"]) + 1
        volume = np.count_nonzero(np.asarray(mask.dataobj) == value) * np.prod(mask.header.get_zooms())
        assert row["volume_reference_mm3"] == pytest.approx(volume, rel=1e-4)
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["n"] == 2
    assert {"coarse_s", "fine_s", "postprocessing_s", "peak_memory_mib"} <= set(costs["summary"])
