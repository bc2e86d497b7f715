"""What is particular to OSS-Net's bundle: the points it is trained on, its five variants, and its two data sets."""

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
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch import Tensor

from common.datasets import plan_recipe
from common.datasets.layouts.registry import LAYOUTS
from common.networks import OSSNet
from common.optimizers import LookaheadRAdam
from common.transforms.borders import border_map

BUNDLE = Path(__file__).parents[2] / "bundles/oss_net"
CONFIGS = BUNDLE / "configs"
COUNTS = {  # parameters, as published
    (): 8_695_733,
    ("experiments/o_net.json",): 6_890_753,
    ("experiments/a.json",): 7_245_438,
    ("experiments/b.json",): 7_254_358,
    ("experiments/c.json",): 8_695_733,
    ("experiments/d.json",): 8_704_653,
    ("lits.json",): 10_866_490,
    ("lits.json", "experiments/a.json"): 9_409_177,
}
VARIANTS = ("o_net", "a", "b", "c", "d")
TINY = {"network_def#channels": [4, 4, 4, 4], "network_def#low_shape": [1, 1, 1], "network_def#width": 16}
PLAN = {"channel_order": [0, 1, 2, 3], "working_size": [32, 32, 32], "placement": "pad", "demonstration_only": True}
PLAN |= {"window": None, "nonzero": False}


def parsed(*names: str, **settings: Any) -> ConfigParser:
    """Config files as ``monai.bundle run`` merges them, with ``--name value`` for the settings."""
    config = ConfigParser()
    config.read_config([CONFIGS / name for name in names])
    config.read_meta(CONFIGS / "metadata.json")
    config.update({"device": "cpu", "amp": False, "num_workers": 0, **settings})
    return config


def content(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text())


@pytest.fixture(scope="module")
def case(phantoms_of: Callable[[str], Path]) -> dict[str, Any]:
    """One phantom patient, 60 x 60 x 40 voxels."""
    return LAYOUTS["brats2020"](phantoms_of("brats2020")).cases[0]


def sampled(case: dict[str, Any], *overlays: str, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """What the loader makes of a case for one training step."""
    config = parsed("train.json", *overlays, recorded={**PLAN, "working_size": [64, 64, 64]}, working_size=[64, 64, 64])
    config.update({**TINY, "points": 4000, **settings})
    preprocessing = config.get_parsed_content("train#preprocessing")
    preprocessing.set_random_state(seed)
    return preprocessing(dict(case))


@pytest.mark.parametrize("overlays", COUNTS, ids=" + ".join)
def test_networks_have_the_published_numbers_of_parameters(overlays: tuple[str, ...]) -> None:
    config = parsed("train.json", *overlays)
    with torch.device("meta"):
        network = config.get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) == COUNTS[overlays]


def test_an_overlay_for_every_row_of_the_papers_tables() -> None:
    rows = {"o_net": "O-Net", "a": "A", "b": "B", "c": "C", "d": "D"}
    for name, variant in rows.items():
        assert parsed("train.json", f"experiments/{name}.json")["network_def#variant"] == variant
    for share, power in product((("uniform", 0.0), ("border", 0.5)), (13, 14, 15)):
        config = parsed("train.json", f"experiments/{share[0]}_2e{power}.json")
        assert (config["points"], config["border_fraction"]) == (2**power, share[1])


def test_a_brats_volume_is_padded_as_published() -> None:
    sample = parsed("train.json").get_parsed_content("sample")
    shape = (240, 240, 155)
    data = {"image": torch.zeros(4, *shape, dtype=torch.float16), "label": torch.ones(1, *shape, dtype=torch.uint8)}
    out = sample(data)
    assert out["image"].shape == (4, 256, 256, 160)
    assert out["box"].tolist() == [[8, 8, 3], [248, 248, 158]]
    assert out["points"].shape == (2**14, 3) and out["label"].shape == (1, 2**14 + 8 * 8 * 5)


def test_a_volume_that_is_larger_than_the_working_grid_is_cropped_in_training_so_that_cases_make_a_batch() -> None:
    sample = parsed("train.json", working_size=[32, 32, 32], points=50, **TINY).get_parsed_content("sample")
    place = torch.arange(40)[:, None, None].expand(40, 30, 34)[None]
    out = sample({"image": place.repeat(4, 1, 1, 1).half(), "label": (place >= 20).to(torch.uint8)})
    assert out["image"].shape == (4, 32, 32, 32) and out["box"].tolist() == [[0, 1, 0], [32, 31, 32]]
    z, y, x = out["points"].long().T
    inside = (y >= 1) & (y < 31)
    assert torch.equal(out["label"][0, :50][inside].bool(), (out["image"][0, z, y, x] >= 20)[inside])


def test_a_training_step_is_asked_what_inference_is_asked(case: dict[str, Any]) -> None:
    """At the same voxels the same network says the same, but for the half precision in which volumes are kept."""
    step = sampled(case, **{"flip#weights": [1.0, 0.0, 0.0, 0.0]})
    train = parsed("train.json").get_parsed_content("train#inferer")
    train.prob = 0.0
    config = parsed(
        "inference.json", recorded={**PLAN, "working_size": [64, 64, 64]}, strategy="dense", **TINY, start=None
    )
    network = config.get_parsed_content("network").eval()
    image = config.get_parsed_content("preprocessing")({"image": case["image"]})["image"]
    with torch.no_grad():
        logits = train(step["image"][None], network, step["points"][None], step["box"][None])[0, 0, :4000]
        dense = config.get_parsed_content("inferer")(image[None], network)[0, 0]
    places = step["points"].long() - step["box"][0]
    inside = ((places >= 0) & (places < torch.tensor(dense.shape))).all(dim=1)
    assert 0.4 < float(inside.float().mean()) < 0.7  # 60 x 60 x 40 of 64 x 64 x 64
    torch.testing.assert_close(logits[inside], dense[tuple(places[inside].T)], atol=5e-3, rtol=0)


def test_points_know_their_label_and_the_coarse_label_lies_behind_them(case: dict[str, Any]) -> None:
    step = sampled(case)
    tumor = parsed("train.json", recorded=PLAN).get_parsed_content("load")(dict(case))["label"][0] > 0
    padded = F.pad(tumor, (12, 12, 2, 2, 2, 2))
    seen = {tuple(flips): padded.flip(flips) for flips in ([], [0], [1], [0, 1])}
    targets = [volume[tuple(step["points"].long().T)] for volume in seen.values()]
    assert any(torch.equal(target, step["label"][0, :4000] > 0) for target in targets)
    assert step["label"].shape == (1, 4001) and step["label"][0, -1] == 1


def test_half_of_the_volumes_are_flipped_never_along_the_third_axis() -> None:
    """One axis in a quarter of the flips each, both in half of them."""
    flip = parsed("train.json").get_parsed_content("flip")
    flip.set_random_state(0)
    marker = torch.zeros(1, 2, 2, 2)
    marker[0, 0, 0, 0] = 1
    found: dict[tuple[int, ...], int] = {}
    for _ in range(800):
        out = flip({"image": marker, "label": marker, "border": marker})
        places = {tuple(out[key][0].nonzero()[0].tolist()) for key in ("image", "label", "border")}
        (place,) = places
        found[place] = found.get(place, 0) + 1
    assert set(found) == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)}
    shares = [found[place] / 800 for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0))]
    assert shares == pytest.approx([0.5, 0.125, 0.125, 0.25], abs=0.05)


def test_border_sampling_draws_half_of_the_points_near_the_surface(case: dict[str, Any]) -> None:
    step = sampled(case, "experiments/border_2e14.json", **{"flip#weights": [1.0, 0.0, 0.0, 0.0]})
    tumor = parsed("train.json", recorded=PLAN).get_parsed_content("load")(dict(case))["label"][0] > 0
    band = F.pad(torch.from_numpy(border_map(tumor.numpy().astype(np.uint8))), (12, 12, 2, 2, 2, 2))
    everywhere = float(band.float().mean())
    near = float(band[tuple(step["points"].long().T)].float().mean())
    assert near == pytest.approx(0.5 + 0.5 * everywhere, abs=0.03)
    assert "border" not in step


def test_uniform_sampling_makes_no_border_map() -> None:
    names = [type(t).__name__ for t in parsed("train.json").get_parsed_content("cached").transforms]
    assert names == ["CastToTyped"]


def test_the_learning_rate_falls_to_a_tenth_after_20_and_30_of_50_epochs() -> None:
    config = parsed("train.json", network_def=torch.nn.Linear(1, 1))
    optimizer, schedule = config.get_parsed_content("optimizer"), config.get_parsed_content("lr_scheduler")
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [rates[n] for n in (0, 19, 20, 29, 30, 49)] == pytest.approx([3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-6])


def test_the_optimizer_is_the_papers_and_the_pade_units_can_have_a_rate_of_their_own() -> None:
    optimizer = parsed("train.json", **TINY).get_parsed_content("optimizer")
    assert type(optimizer) is LookaheadRAdam
    assert (optimizer.k, optimizer.alpha) == (5, 0.8)
    assert tuple(optimizer.defaults["betas"]) == (0.9, 0.999) and optimizer.defaults["weight_decay"] == 0
    assert [group["lr"] for group in optimizer.param_groups] == [3e-4, 3e-4]
    optimizer = parsed("train.json", pade_learning_rate=0.01, **TINY).get_parsed_content("optimizer")
    assert [group["lr"] for group in optimizer.param_groups] == [3e-4, 0.01]
    assert sum(p.numel() for p in optimizer.param_groups[1]["params"]) == 250  # variant C, 25 units


@pytest.mark.parametrize("strategy", ["dense", "mise", "coarse_to_fine"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_predicts_whole_volumes_with_its_overlay(variant: str, strategy: str) -> None:
    config = parsed("inference.json", f"experiments/{variant}.json", recorded=PLAN, strategy=strategy, **TINY)
    network = config.get_parsed_content("network").eval()
    with torch.no_grad():
        logits = config.get_parsed_content("inferer")(torch.randn(1, 4, 20, 22, 18), network)
    assert logits.shape == (1, 1, 20, 22, 18) and logits.isfinite().all()


class Bright(OSSNet):
    """Says tumor where the third channel, T1 with contrast medium, is bright."""

    def __init__(self) -> None:
        super().__init__(channels=[4, 4, 4, 4], low_shape=[1, 1, 1], width=16)

    def decode(self, points: Tensor, patches: Tensor | None, latents: Tensor) -> Tensor:
        return patches[:, None, :, 2, 3, 3, 3] - 1


def stored(folder: Path, array: np.ndarray, signs: tuple[int, ...]) -> None:
    """A patient of four files, each axis in its own or the opposite direction; only T1ce holds the array."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for axis, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 1000, array.shape).astype(np.int16)
    for kind in ("flair", "t1", "t1ce", "t2"):
        image = array if kind == "t1ce" else noise
        nib.save(nib.Nifti1Image(image, affine), folder / f"{folder.name}_{kind}.nii.gz")


def test_a_tumor_lies_in_the_patient_where_the_network_saw_it_whatever_the_files_directions(tmp_path: Path) -> None:
    bright = np.zeros((20, 24, 18), np.int16)
    bright[3:9, 5:16, 2:7] = 500
    directions = {"RAS": (1, 1, 1), "LPS": (-1, -1, 1), "LAI": (-1, 1, -1), "RPI": (1, -1, -1)}
    for name, signs in directions.items():
        stored(tmp_path / "in" / name, bright, signs)
    config = parsed("inference.json", recorded=PLAN, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    config.update({"network_def": Bright(), "handlers": [], "strategy": "dense", "start": None})
    config.get_parsed_content("evaluator").run()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
    for name, signs in directions.items():
        found = nib.load(tmp_path / f"out/{name}_seg.nii.gz")
        given = nib.load(tmp_path / f"in/{name}/{name}_t1ce.nii.gz")
        np.testing.assert_allclose(found.affine, given.affine, atol=1e-4)
        assert found.get_data_dtype() == np.uint8
        array = np.asarray(found.dataobj)
        for axis, sign in enumerate(signs):
            array = np.flip(array, axis) if sign < 0 else array
        np.testing.assert_array_equal(array, bright > 0)


def test_the_stand_in_of_the_decathlon_needs_no_other_network(
    phantoms_of: Callable[[str], Path], tmp_path: Path
) -> None:
    config = parsed("train.json", "msd_task01.json", dataset_dir=str(phantoms_of("msd_task01")))
    config.update({"cache_dir": str(tmp_path), "ckpt_dir": str(tmp_path)})
    assert len(config.get_parsed_content("cases")) == 6
    assert "network_def" not in content("msd_task01.json")


@pytest.mark.parametrize("bundle", [BUNDLE], indirect=True, ids=lambda path: path.name)
def test_evaluation_reports_every_voxel_in_mm_and_the_authors_point_score_beside_it(
    bundle: Path, sample_data: Path, trained: Path, run_bundle: Callable, tmp_path: Path
) -> None:
    paths = {"dataset_dir": sample_data, "ckpt_dir": trained / "models", "output_dir": tmp_path}
    done = run_bundle(bundle, "run", "train.json", "sample.json", "evaluate.json", device="cpu", num_workers=0, **paths)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "points evaluated, of 144,000 voxels" in done.stdout
    report = json.loads((tmp_path / "metrics.json").read_text())
    names = {row["case"] for row in report["cases"]}
    assert set(report["summary"]) == {"whole_tumor"} and len(names) == 2
    for row in report["cases"]:
        mask = nib.load(sample_data / row["case"] / f"{row['case']}_seg.nii.gz")
        volume = np.count_nonzero(np.asarray(mask.dataobj)) * np.prod(mask.header.get_zooms())
        assert row["volume_reference_mm3"] == pytest.approx(volume, rel=1e-4)
    score = report["point_set_overlap"]
    assert (score["whole_tumor"]["n"], score["points"]) == (2, 2**17)
    assert {row["case"] for row in csv.DictReader((tmp_path / "point_set_overlap.csv").open())} == names


def test_a_real_patient_of_another_size_is_predicted_on_its_own_grid(shared_data: Path, tmp_path: Path) -> None:
    """230 x 239 x 55 voxels."""
    scan = shared_data / "brats2020/BraTS20_Training_001"
    paths = {"dataset_dir": str(scan), "output_dir": str(tmp_path / "out"), "ckpt_dir": str(tmp_path)}
    config = parsed("inference.json", **paths, **TINY, depth=5, pictures=1)
    network = config.get_parsed_content("network_def")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    settings = {"channel_order": [0, 1, 2, 3], "working_size": [256, 256, 160], "placement": "pad"}
    settings |= {"window": None, "nonzero": False}
    plan_recipe(tmp_path / "plan.json", [{"case": "phantom"}], network=network, settings=settings)
    config.get_parsed_content("evaluator").run()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
    image = nib.load(scan / f"{scan.name}_flair.nii.gz")
    mask = nib.load(tmp_path / f"out/{scan.name}_seg.nii.gz")
    assert mask.shape == image.shape == (230, 239, 55)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    assert (tmp_path / f"out/pictures/{scan.name}.png").is_file()
