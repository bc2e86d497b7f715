"""What is particular to Vox2Vox's bundle: patches and classes of BraTS, the adversary, its variants, three regions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from common.datasets.layouts.registry import LAYOUTS
from common.kernels import Adam

BUNDLE = Path(__file__).parents[2] / "bundles/vox2vox"
CONFIGS = BUNDLE / "configs"
COUNTS = {  # parameters of generator and discriminator: the paper's are worked out by hand, the others published
    (): (142_141_444, 11_078_337),
    ("tensorflow.json",): (150_530_052, 11_078_337),
    ("one_channel_ct.json", "pytorch.json"): (137_900_033, 11_051_968),
    ("experiments/simultaneous.json",): (142_141_444, 11_078_337),
}
SETTINGS = {"channel_order": [1, 3, 2, 0], "spacing": None, "roi_size": [-1, -1, -1], "written_values": [0, 1, 2, 4]}
PLAN = {**SETTINGS, "class_weights": [0.3, 20.0, 10.0, 30.0], "demonstration_only": True}
OFF = dict.fromkeys(("flip_prob", "brightness_prob", "rotation_prob", "elastic_prob"), 0.0)


def parsed(*names: str, **settings: Any) -> ConfigParser:
    """Config files as ``monai.bundle run`` merges them, with ``--name value`` for the settings."""
    config = ConfigParser()
    config.read_config([CONFIGS / name for name in names])
    config.read_meta(CONFIGS / "metadata.json")
    config.update({"device": "cpu", "amp": False, "num_workers": 0, **settings})
    return config


def stored(path: str) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def patients(phantoms_of: Callable[[str], Path]) -> list[dict[str, Any]]:
    """Six phantoms of 60 x 60 x 40 voxels, the first stored along LPS axes."""
    return LAYOUTS["brats2020"](phantoms_of("brats2020")).cases


@pytest.mark.parametrize("overlays", COUNTS, ids=" + ".join)
def test_networks_have_the_published_numbers_of_parameters(overlays: tuple[str, ...]) -> None:
    config = parsed("train.json", *overlays)
    with torch.device("meta"):
        networks = [config.get_parsed_content(name) for name in ("network_def", "discriminator_def")]
    assert tuple(sum(p.numel() for p in net.parameters()) for net in networks) == COUNTS[overlays]


@pytest.mark.parametrize(("overlays", "scores"), [((), 8), (("tensorflow.json",), 14), (("pytorch.json",), 8)])
def test_a_scan_of_128_voxels_gives_maps_of_its_size_and_a_grid_of_scores(overlays: tuple, scores: int) -> None:
    config = parsed("train.json", *overlays)
    with torch.device("meta"), torch.no_grad():
        networks = (config.get_parsed_content(name).eval() for name in ("network_def", "discriminator_def"))
        generator, discriminator = networks
        scan = torch.zeros(1, 4, 128, 128, 128)
        maps = generator(scan)
        judged = discriminator(maps, scan)
    assert maps.shape == (1, config.get_parsed_content("network_def#out_channels"), 128, 128, 128)
    assert judged.shape == (1, 1, scores, scores, scores)


def test_ten_seeded_folds_of_37_patients_are_stored_beside_the_weights(tmp_path: Path) -> None:
    cases = [{"case": f"BraTS20_Training_{n:03d}"} for n in range(1, 370)]
    parts = [
        parsed("train.json", cases=cases, ckpt_dir=str(tmp_path), fold=k).get_parsed_content("split") for k in range(10)
    ]
    assert sorted(len(part["validate"]) for part in parts) == [36] + [37] * 9
    assert len({case["case"] for part in parts for case in part["validate"]}) == 369
    assert len(json.loads((tmp_path / "split.json").read_text())["folds"]) == 10


def test_channels_are_in_the_papers_order_normalized_over_what_is_not_zero_and_cut_to_it(patients: list) -> None:
    flair, t1, t1ce, t2 = (stored(file).astype(float) for file in patients[0]["image"])
    image = parsed("train.json").get_parsed_content("prepare")(dict(patients[0]))["image"].numpy()
    some = (np.stack([flair, t1, t1ce, t2]) != 0).any(axis=0)
    box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(some))
    for channel, volume in zip(image, (t1, t2, t1ce, flair), strict=True):
        inside = volume[volume != 0]
        expected = np.where(volume != 0, (volume - inside.mean()) / inside.std(), 0)[box]
        missing = [max(48 - n, 0) for n in expected.shape]
        expected = np.pad(expected, [(n // 2, n - n // 2) for n in missing])
        np.testing.assert_allclose(channel, expected, atol=1e-4)


def test_classes_are_background_core_edema_and_enhancing_tumor_in_brats_and_in_the_decathlons_stand_in(
    patients: list, phantoms_of: Callable[[str], Path]
) -> None:
    stand_in = LAYOUTS["msd_task01"](phantoms_of("msd_task01")).cases[1]  # the first has no enhancing tumor
    same = parsed("train.json", "msd_task01.json").get_parsed_content("prepare")(dict(stand_in))
    ours = parsed("train.json").get_parsed_content("prepare")(dict(patients[1]))
    label = stored(patients[1]["label"])
    counts = [np.count_nonzero(label == value) for value in (1, 2, 4)]
    assert torch.bincount(ours["label"].as_tensor().flatten().long()).tolist()[1:] == counts
    for key in ("image", "label"):
        torch.testing.assert_close(same[key].as_tensor(), ours[key].as_tensor())


def test_weights_make_every_class_of_the_training_labels_count_the_same(patients: list, tmp_path: Path) -> None:
    config = parsed("train.json", cases=patients[:3], folds=3, ckpt_dir=str(tmp_path), cache_dir=str(tmp_path / "c"))
    weights = config.get_parsed_content("recorded")["class_weights"]
    prepare = config.get_parsed_content("prepare")
    labels = [prepare(dict(case))["label"].numpy().ravel() for case in config.get_parsed_content("split")["train"]]
    shares = np.bincount(np.concatenate(labels)) / sum(map(len, labels))
    np.testing.assert_allclose(shares * weights, [0.25] * 4, rtol=1e-9)
    assert sum(1 / (4 * weight) for weight in weights) == pytest.approx(1)
    assert json.loads((tmp_path / "plan.json").read_text())["class_weights"] == weights


def changed_shares(**settings: Any) -> tuple[float, float]:
    """In what share of 150 draws image and label are not what they were."""
    augmentation = parsed("train.json", **settings).get_parsed_content("augmentation")
    augmentation.set_random_state(0)
    rng = torch.Generator().manual_seed(0)
    given = {
        "image": torch.randn(4, 8, 8, 8, generator=rng),
        "label": (torch.rand(1, 8, 8, 8, generator=rng) * 4).byte(),
    }
    drawn = [augmentation(given) for _ in range(150)]
    return tuple(np.mean([not torch.equal(torch.as_tensor(out[k]), given[k]) for out in drawn]) for k in given)


@pytest.mark.parametrize(
    ("settings", "image", "label"),
    [
        ({}, 0.75 * 15 / 16, 0.75 * 7 / 8),  # as the authors draw: each of four, three of which move the label too
        ({"untouched_fraction": 1.0}, 0, 0),
        (OFF, 0, 0),
        ({**OFF, "brightness_prob": 0.5}, 0.75 / 2, 0),
        ({**OFF, "flip_prob": 0.5}, 0.75 / 2, 0.75 / 2),
        ({**OFF, "rotation_prob": 0.5}, 0.75 / 2, 0.75 / 2),
        ({**OFF, "elastic_prob": 0.5}, 0.75 / 2, 0.75 / 2),
    ],
    ids=["all", "untouched", "none", "brightness", "flip", "rotation", "elastic"],
)
def test_a_patch_is_changed_as_often_as_the_knobs_say(settings: dict, image: float, label: float) -> None:
    assert changed_shares(**settings) == pytest.approx((image, label), abs=0.1)


def test_a_rotation_leaves_the_center_where_it_is() -> None:
    augmentation = parsed("train.json", **{**OFF, "rotation_prob": 1.0, "untouched_fraction": 0.0}).get_parsed_content(
        "augmentation"
    )
    augmentation.set_random_state(0)
    ball = torch.zeros(1, 33, 33, 33)
    ball[0, 14:19, 14:19, 14:19] = 1
    for _ in range(10):
        out = augmentation({"image": ball, "label": ball})
        center = torch.as_tensor(out["label"])[0].nonzero().double().mean(dim=0)
        torch.testing.assert_close(center, torch.full((3,), 16.0).double(), atol=0.4, rtol=0)


def test_patches_have_the_size_asked_for_also_where_the_volume_is_smaller(patients: list) -> None:
    step = parsed("train.json", patch=[32, 64, 48]).get_parsed_content("train#preprocessing")(dict(patients[0]))
    assert [step[key].shape for key in ("image", "label")] == [(4, 32, 64, 48), (1, 32, 64, 48)]


@pytest.mark.parametrize(
    ("overlays", "order", "threshold", "weight"),
    [
        ((), "alternating", None, 5),
        (("experiments/simultaneous.json",), "simultaneous", None, 5),
        (("tensorflow.json",), "simultaneous", None, 5),
        (("pytorch.json",), "alternating", 0.8, 100),
    ],
    ids=str,
)
def test_the_adversary_is_updated_as_each_source_says(overlays: tuple, order: str, threshold: Any, weight: int) -> None:
    config = parsed("train.json", *overlays, **{"network_def#width": 1})
    adversary = config.get_parsed_content("adversary")
    assert (adversary.order, adversary.threshold, config["dice_weight"]) == (order, threshold, weight)
    optimizers = [config.get_parsed_content(name) for name in ("optimizer", "discriminator_optimizer")]
    eps = 1e-7 if "tensorflow.json" in overlays else 1e-8
    for optimizer in optimizers:
        assert type(optimizer) is Adam
        assert [optimizer.defaults[name] for name in ("lr", "betas", "eps")] == [2e-4, (0.5, 0.999), eps]


def test_the_articles_loss_is_the_squared_dice_of_targets_of_minus_one_and_one() -> None:
    config = parsed("train.json", "pytorch.json")
    label = (torch.rand(1, 1, 8, 8, 8) > 0.5).byte()
    target = config.get_parsed_content("encode")(label)
    assert target.unique().tolist() == [-1, 1]
    p = torch.tanh(torch.randn(1, 1, 8, 8, 8))
    expected = 1 - (2 * (p * target).sum() + 1) / ((p**2).sum() + (target**2).sum() + 1)
    loss = config.get_parsed_content("loss")
    torch.testing.assert_close(loss(p, target), expected)


class Bright(nn.Module):
    """Says core, edema or enhancing tumor where T1 with contrast medium is a little, quite or very bright."""

    seen: list[tuple[int, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.seen = []
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape[2:]))
        classes = sum((x[:, 2] > least).long() for least in (0.1, 1.3, 2.6))
        return self.factor * torch.nn.functional.one_hot(classes, 4).movedim(-1, 1).float()


def scan(folder: Path, array: np.ndarray, signs: tuple[int, ...]) -> None:
    """A patient of four equal files, each axis in its own or the opposite direction."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    folder.mkdir(parents=True)
    for kind in ("flair", "t1", "t1ce", "t2"):
        nib.save(nib.Nifti1Image(array, affine), folder / f"{folder.name}_{kind}.nii.gz")


@pytest.mark.parametrize("roi_size", [[-1, -1, -1], [32, 32, 32]], ids=["whole", "windows"])
def test_predictions_are_the_labels_of_brats_where_the_network_saw_them(tmp_path: Path, roi_size: list[int]) -> None:
    levels = np.zeros((52, 40, 36), np.int16)
    levels[4:48, 5:35, 3:33] = 100
    levels[10:20, 8:30, 6:20] = 200
    levels[22:30, 8:30, 6:20] = 300
    levels[32:40, 8:30, 6:20] = 400
    expected = np.select([levels == 200, levels == 300, levels == 400], [1, 2, 4])
    directions = {"RAS": (1, 1, 1), "LPS": (-1, -1, 1), "LAI": (-1, 1, -1)}
    for name, signs in directions.items():
        scan(tmp_path / "in" / name, levels, signs)
    network, plan = Bright(), {**PLAN, "roi_size": roi_size}
    config = parsed("inference.json", recorded=plan, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    config.update({"network_def": network, "handlers": [], "network": network})
    config.get_parsed_content("evaluator").run()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
    assert set(network.seen) == ({(48, 48, 48)} if roi_size[0] < 0 else {(32, 32, 32)})
    for name, signs in directions.items():
        found, given = nib.load(tmp_path / f"out/{name}_seg.nii.gz"), nib.load(tmp_path / f"in/{name}/{name}_t1.nii.gz")
        np.testing.assert_allclose(found.affine, given.affine, atol=1e-4)
        assert found.get_data_dtype() == np.uint8
        array = np.asarray(found.dataobj)
        for axis, sign in enumerate(signs):
            array = np.flip(array, axis) if sign < 0 else array
        np.testing.assert_array_equal(array, expected)


def test_the_articles_map_is_foreground_where_it_is_above_zero() -> None:
    config = parsed("inference.json", "pytorch.json")
    maps = torch.tensor([-1.0, -0.1, 0.1, 1.0]).reshape(1, 2, 2, 1)
    probability = config.get_parsed_content("probability")({"pred": maps})["pred"]
    assert probability.flatten().tolist() == pytest.approx([0, 0.45, 0.55, 1])
    discretized = parsed("train.json", "pytorch.json").get_parsed_content("discretize")({"pred": maps, "label": maps})
    assert discretized["pred"].flatten().tolist() == [0, 0, 1, 1]
