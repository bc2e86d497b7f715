"""What is particular to the liver bundle: its two profiles, and what its commands leave."""

from __future__ import annotations

import csv
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
from monai.transforms import Compose, SpatialPadd

from common.datasets import plan_recipe
from common.inferers.grid import patch_starts
from common.kernels import Adam

BUNDLE = "unet_liver_tumor"
CONFIGS = Path(__file__).parents[2] / "bundles" / BUNDLE / "configs"
PROFILES = {"recommended": (), "faithful": ("faithful.json",)}
TINY = {
    "epochs": 1,
    "val_interval": 1,
    "num_workers": 0,
    "device": "cpu",
    "amp": False,
    "folds": 3,
    "patch": [16, 16, 16],
    "roi_size": [32, 32, 32],
    "samples_per_case": 1,
    "network_def#channels": [4, 8, 16],
}


def parsed(*names: str, **settings: Any) -> ConfigParser:
    """Config files as ``monai.bundle run`` merges them, with ``--name value`` for the settings."""
    config = ConfigParser()
    config.read_config([CONFIGS / name for name in names])
    config.read_meta(CONFIGS / "metadata.json")
    config.update({"device": "cpu", **settings})
    return config


@pytest.fixture
def scan(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """``scan(array)``: the file of a CT (x, y, z) in HU with voxels of 1.5 x 1.5 x 2 mm, and a label."""

    def write(array: np.ndarray) -> dict[str, str]:
        affine = np.diag([1.5, 1.5, 2.0, 1.0])
        affine[:3, 3] = 100
        nib.save(nib.Nifti1Image(array.astype(np.int16), affine), tmp_path / "image.nii.gz")
        nib.save(nib.Nifti1Image(np.zeros(array.shape, np.uint8), affine), tmp_path / "label.nii.gz")
        return {key: str(tmp_path / f"{key}.nii.gz") for key in ("image", "label")}

    return write


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """131 labels like those of Task03_Liver: 118 with a tumor, 13 without."""
    folder = tmp_path_factory.mktemp("labels")
    for n in range(131):
        label = np.full((2, 2, 2), 1 if n % 10 == 3 and n < 130 else 2, np.uint8)
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / f"liver_{n}.nii.gz")
    return [{"case": path.name[:-7], "label": str(path)} for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("profile", PROFILES)
def test_network_has_the_parameters_of_the_description(profile: str) -> None:
    network = parsed("train.json", *PROFILES[profile]).get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) == 5_836_099
    normalizations = [m for m in network.modules() if isinstance(m, torch.nn.InstanceNorm3d)]
    assert len(normalizations) == {"recommended": 14, "faithful": 0}[profile]


@pytest.mark.parametrize(("profile", "sizes"), [("recommended", (105, 13, 13)), ("faithful", (105, 13, 13))])
def test_first_fold_has_the_sizes_of_the_description(
    profile: str, sizes: tuple[int, ...], cases: list[dict[str, str]], tmp_path: Path
) -> None:
    split = parsed("train.json", *PROFILES[profile], cases=cases, ckpt_dir=str(tmp_path)).get_parsed_content("split")
    assert tuple(len(split[part]) for part in ("train", "validate", "test")) == sizes
    used = {case["case"] for part in split.values() for case in part}
    assert len(used) == {"recommended": 131, "faithful": 118}[profile]
    assert (split["validate"] == split["test"]) is (profile == "faithful")


def test_recommended_tumor_free_cases_are_spread_evenly(cases: list[dict[str, str]], tmp_path: Path) -> None:
    split = parsed("train.json", cases=cases, ckpt_dir=str(tmp_path)).get_parsed_content("split")
    free = [sum(int(case["case"][6:]) % 10 == 3 for case in split[part]) for part in ("train", "validate", "test")]
    assert sum(free) == 13
    assert abs(free[1] - 1.3) < 1
    assert abs(free[2] - 1.3) < 1


@pytest.mark.parametrize("base", ["train.json", "inference.json"])
def test_faithful_volumes_have_200_slices_of_256_squared_from_minus_one_to_one(base: str, scan: Callable) -> None:
    array = np.zeros((120, 280, 60))
    array[0, 100:103, 30] = -1024, 3000, 988
    config = parsed(base, "faithful.json", recorded={"spacing": None})
    image = config.get_parsed_content("prepare")(scan(array))["image"]
    assert image.shape == (1, 200, 256, 256)  # z, y, x as Orientationd("SAR") turns them
    assert image.min() == -1
    assert image.max() == 1
    padded = -1 + 2 * 1024 / 4024  # 0 HU, as in the description
    assert image[0, 0, 0, 0].item() == pytest.approx(padded, abs=1e-6)
    assert torch.any(torch.isclose(image.as_tensor(), torch.tensor(0.0), atol=1e-6))  # 988 HU, the middle
    assert image.pixdim.tolist() == pytest.approx([2.0, 1.5, 1.5])


def test_faithful_loss_is_cross_entropy_with_weights_one_one_three() -> None:
    logits, label = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 1, 4, 4, 4))
    loss = parsed("train.json", "faithful.json").get_parsed_content("loss")(logits, label)
    expected = torch.nn.functional.cross_entropy(logits, label[:, 0], weight=torch.tensor([1.0, 1.0, 3.0]))
    torch.testing.assert_close(loss, expected)


def test_faithful_optimizer_is_adam_with_a_constant_rate_of_one_ten_thousandth() -> None:
    config = parsed("train.json", "faithful.json")
    optimizer, schedule = config.get_parsed_content("optimizer"), config.get_parsed_content("lr_scheduler")
    assert type(optimizer) is Adam
    assert optimizer.defaults["weight_decay"] == 0
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 1e-4


@pytest.mark.parametrize("base", ["train.json", "inference.json"])
def test_faithful_predicts_27_patches_that_share_8_voxels(base: str) -> None:
    settings = {} if base == "train.json" else {"recorded": {"roi_size": [96, 96, 96]}}
    inferer = parsed(base, "faithful.json", **settings).get_parsed_content("whole_volume")
    assert (inferer.mode, inferer.overlap, inferer.roi_size) == ("crop", (8, 8, 8), (96, 96, 96))
    sides = zip((200, 256, 256), inferer.roi_size, inferer.overlap, strict=True)
    assert len(list(product(*(patch_starts(*side) for side in sides)))) == 27


@pytest.mark.parametrize("profile", PROFILES)
def test_patches_of_96_voxels_are_drawn_by_class(profile: str) -> None:
    augmentation = parsed("train.json", *PROFILES[profile]).get_parsed_content("augmentation").flatten()
    crop = next(t for t in augmentation.transforms if type(t).__name__ == "LabelProbabilityCropd")
    assert dict(zip(crop.classes, crop.probabilities, strict=True)) == {0: 0.2, 1: 0.3, 2: 0.5}
    assert list(crop.spatial_size) == [96, 96, 96]
    assert crop.num_samples == 5


def prepare(case: dict[str, str]) -> dict[str, Any]:
    """The recommended preprocessing, on voxels of 2 x 1.5 x 1.5 mm."""
    return parsed("train.json", recorded={"spacing": [2.0, 1.5, 1.5]}).get_parsed_content("prepare")(case)


def test_recommended_window_is_minus_175_to_250_hu(scan: Callable) -> None:
    array = np.full((20, 20, 20), 40)
    array[5:10, 5, 5] = -1000, -175, 37.5, 250, 3000
    image = prepare(scan(array))["image"]
    values = torch.tensor([-1.0, -1.0, 2 * (37 + 175) / 425 - 1, 1.0, 1.0])
    line = image.as_tensor()[0, 5, 5].sort().values
    torch.testing.assert_close(line[[0, 1]], values[:2])
    torch.testing.assert_close(line[-2:], values[-2:])
    assert torch.isclose(line, values[2], atol=1e-5).any()


def test_recommended_frame_is_the_body_and_four_voxels_but_never_more_than_the_volume(scan: Callable) -> None:
    array = np.full((40, 40, 40), -1000)
    array[10:20, 10:20, :30] = 40  # reaches the volume's first slice
    image = prepare(scan(array))["image"]
    assert image.shape == (1, 34, 18, 18)
    assert image.mean().item() == pytest.approx((0.011765 + 1) * 3000 / (34 * 18 * 18) - 1, abs=1e-3)


def test_recommended_padding_is_air() -> None:
    config = parsed("train.json")
    pads = [t for t in config.get_parsed_content("augmentation").transforms if isinstance(t, SpatialPadd)]
    out = Compose(pads)({"image": torch.zeros(1, 8, 8, 8), "label": torch.ones(1, 8, 8, 8)})
    assert out["image"].sum() == -(96**3 - 512)
    assert out["label"].sum() == 512
    window = config.get_parsed_content("whole_volume").inferer
    assert (window.cval, window.overlap, str(window.mode)) == (-1, 0.5, "gaussian")


@pytest.mark.parametrize("component_filter", [True, False])
def test_component_filter_keeps_the_largest_piece_of_liver_and_tumor_and_fills_it(component_filter: bool) -> None:
    settings = {"component_filter": component_filter, "output_dir": "unused", "foreground": {"_target_": "Compose"}}
    steps = parsed("inference.json", **settings).get_parsed_content("postprocessing").transforms[3:5]
    labels = torch.zeros(1, 12, 12, 12)
    labels[0, 1:8, 1:8, 1:8] = 1
    labels[0, 3:6, 3:6, 3:6] = 2
    labels[0, 4, 4, 4] = 0  # a hole in the tumor
    labels[0, 10, 10, 10] = 1  # a piece apart
    data = {"pred": labels}
    for step in steps:
        data = step(data)
    assert (data["pred"] == 2).sum() == 26
    assert data["pred"][0, 4, 4, 4] == (1 if component_filter else 0)
    assert data["pred"][0, 10, 10, 10] == (0 if component_filter else 1)


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def trained_profile(profile: str, phantoms_of, run_bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of a tiny network on phantoms with 6 mm voxels, or in a small frame."""
    folder = tmp_path_factory.mktemp(profile)
    paths = {"ckpt_dir": folder / "models", "cache_dir": folder / "cache", "output_dir": folder / "train"}
    data = phantoms_of("task03_liver")
    done = run_bundle(BUNDLE, "training", "train.json", *PROFILES[profile], dataset_dir=data, **paths, **tiny(profile))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def tiny(profile: str) -> dict[str, Any]:
    frame = {"foreground#spatial_size": [32, 64, 64]} if profile == "faithful" else {"spacing": [6.0, 6.0, 6.0]}
    return {**TINY, **frame}


def only(names: str, profile: str) -> dict[str, Any]:
    return {name: value for name, value in tiny(profile).items() if name.split("#")[0] in names.split()}


def test_prediction_is_classes_as_uint8_with_the_scans_affine(
    profile: str, trained_profile: Path, phantoms_of, run_bundle, tmp_path: Path
) -> None:
    scans = phantoms_of("task03_liver") / "imagesTs"
    paths = {"dataset_dir": scans, "ckpt_dir": trained_profile / "models", "output_dir": tmp_path}
    settings = only("device amp num_workers network_def frame", profile)
    done = run_bundle(BUNDLE, "run", "inference.json", *PROFILES[profile], **paths, **settings, pictures=0)
    assert done.returncode == 0, done.stdout + done.stderr
    images = sorted(scans.glob("liver_*.nii.gz"))
    assert len(images) == 2
    for path in images:
        image, mask = nib.load(path), nib.load(tmp_path / path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert mask.get_data_dtype() == np.uint8
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
        assert set(np.unique(mask.dataobj)) <= {0, 1, 2}


@pytest.mark.parametrize("profile", ["recommended"], indirect=True)
def test_evaluation_writes_tumors_burden_and_animations(
    profile: str, trained_profile: Path, phantoms_of, run_bundle, tmp_path: Path
) -> None:
    data, paths = phantoms_of("task03_liver"), {"ckpt_dir": trained_profile / "models", "output_dir": tmp_path}
    settings = only("device amp num_workers network_def folds frame spacing", profile)
    files = ("train.json", "evaluate.json", *PROFILES[profile])
    done = run_bundle(BUNDLE, "run", *files, dataset_dir=data, **paths, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "metrics.json").read_text())
    names = {row["case"] for row in report["cases"]}
    assert {row["structure"] for row in report["cases"]} == {"liver", "tumor", "liver_without_tumor"}
    assert {path.stem for path in (tmp_path / "animations").glob("*.gif")} == names
    tables = {name: list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("tumors", "tumor_burden")}
    assert {row["case"] for row in tables["tumor_burden"]} == names
    assert {row["case"] for row in tables["tumors"]} <= names


def test_a_real_case_is_predicted_on_its_own_grid(shared_data: Path, tmp_path: Path) -> None:
    scan = shared_data / "Task03_Liver/imagesTr/liver_0.nii.gz"
    settings = {"spacing": [4.0, 3.0, 3.0], "roi_size": [32, 64, 64], "component_filter": True}
    paths = {"dataset_dir": str(scan), "output_dir": str(tmp_path / "out"), "ckpt_dir": str(tmp_path)}
    config = parsed("inference.json", **paths, num_workers=0, pictures=1)
    config.update({"network_def#channels": [4, 8, 16], "whole_volume#inferer#overlap": 0.0})
    network = config.get_parsed_content("network_def")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    plan_recipe(tmp_path / "plan.json", [{"case": "phantom"}], network=network, settings=settings)
    config.get_parsed_content("evaluator").run()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
    image, mask = nib.load(scan), nib.load(tmp_path / "out/liver_0_seg.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    assert (tmp_path / "out/pictures/liver_0.png").is_file()
