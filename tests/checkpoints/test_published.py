"""Files as others publish them: every tensor in its place, and the settings that inference needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from common.checkpoints import import_published, rename_key
from common.checkpoints.published import KEY_MAPS, PUBLISHED

REPOSITORY = Path(__file__).parents[2]


def assert_written(path: Path, state: dict[str, torch.Tensor], network: str) -> None:
    """Every tensor is in the file under our name, bit by bit."""
    ours = torch.load(path, weights_only=True)
    theirs = {rename_key(key, KEY_MAPS[network]): value for key, value in state.items()}
    torch.testing.assert_close(dict(ours), theirs, rtol=0, atol=0)


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize("data", ["BraTS", "LiTS"])
def test_the_eight_published_files_of_oss_net_are_taken(listed: Callable, letter: str, data: str, tmp_path: Path):
    variant = f"{letter.lower()}_{'bra_ts' if data == 'BraTS' else 'lits'}"
    state = listed("oss_net", f"OSS-Net {letter} | {data}")
    torch.save(state, tmp_path / f"oss_net_{variant}.pt")
    done = import_published("oss_net", tmp_path / f"oss_net_{variant}.pt", tmp_path / "model.pt", variant=variant)
    assert len(done.mapped) == len(state) and done.left_out == []
    assert_written(tmp_path / "model.pt", state, "OSSNet")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["working_size"] == ([256, 256, 160] if data == "BraTS" else [512, 512, 512])
    assert plan["placement"] == ("pad" if data == "BraTS" else "resize")


@pytest.mark.parametrize(
    ("variant", "network", "file"), [("coarse", "ResidualUNet", "coarse.pt"), ("fine", "EfficientSegNet", "model.pt")]
)
@pytest.mark.parametrize("prefix", ["", "module."], ids=["one device", "several devices"])
def test_efficient_seg_nets_checkpoints_are_taken(
    listed: Callable, variant: str, network: str, file: str, prefix: str, tmp_path: Path
):
    state = {f"{prefix}{key}": value for key, value in listed("efficient_seg_net", variant).items()}
    wrapper = {"epoch": 12, "state_dict": state, "optimizer_dict": {"state": {}, "param_groups": []}, "lr": 1e-3}
    torch.save(wrapper, tmp_path / "best_model.pt")
    done = import_published("efficient_seg_net", tmp_path / "best_model.pt", tmp_path / file, variant=variant)
    assert done.left_out == ["epoch", "lr", "optimizer_dict"]
    assert_written(tmp_path / file, state, network)


def test_the_fine_networks_weights_are_used_with_the_size_limits_they_were_scored_with(
    listed: Callable, tmp_path: Path
):
    torch.save({"state_dict": listed("efficient_seg_net", "fine")}, tmp_path / "theirs.pt")
    done = import_published("efficient_seg_net", tmp_path / "theirs.pt", tmp_path / "model.pt", variant="fine")
    assert (done.plan["grid"], done.plan["coarse_grid"]) == ([192] * 3, [160] * 3)
    assert done.plan["min_size_unit"] == "upstream"


def test_beside_a_first_stages_weights_no_plan_is_written(listed: Callable, tmp_path: Path):
    torch.save(listed("efficient_seg_net", "coarse"), tmp_path / "theirs.pt")
    done = import_published("efficient_seg_net", tmp_path / "theirs.pt", tmp_path / "coarse.pt", variant="coarse")
    assert done.plan is None and not (tmp_path / "plan.json").exists()


V_NETS = {
    "baseline": "vnet_baseline",
    "baseline_elu": "vnet_baseline_elu",
    "attention_dilation4": "vnet_bam",
    "deep": "vnet_deep",
    "deep_attention_dilation3": "vnet_deep_bam",
    "locator": "vnet_baseline",
}


@pytest.mark.parametrize("variant", V_NETS)
def test_the_original_v_nets_are_taken(listed: Callable, variant: str, tmp_path: Path):
    state = listed("vnet_left_atrium", V_NETS[variant])
    wrapper = "locator_model_state" if variant == "locator" else "model_state"
    torch.save({"epoch": 0, wrapper: state}, tmp_path / "theirs.pt")
    import_published("vnet_left_atrium", tmp_path / "theirs.pt", tmp_path / "ours.pt", variant=variant)
    assert_written(tmp_path / "ours.pt", state, "VNet")


def test_v_nets_window_and_intensities_come_from_its_checkpoint(listed: Callable, tmp_path: Path):
    beside = {"patch_size": [96, 160, 224], "mean": np.float64(31.5), "std": np.float32(27.25)}
    torch.save({"model_state": listed("vnet_left_atrium", "vnet_baseline"), **beside}, tmp_path / "theirs.pt")
    done = import_published("vnet_left_atrium", tmp_path / "theirs.pt", tmp_path / "model.pt", variant="baseline")
    assert done.plan["crop_size"] == [96, 160, 224]
    assert (done.plan["intensity"], done.plan["mean"], done.plan["std"]) == ("cohort", 31.5, 27.25)


@pytest.mark.parametrize("beside", [{"std": -1.0}, {"patch_size": [96, 144, 225]}, {"mean": float("nan")}], ids=str)
def test_a_v_nets_impossible_window_or_intensities_are_refused(listed: Callable, beside: dict, tmp_path: Path):
    content = {"model_state": listed("vnet_left_atrium", "vnet_baseline"), "patch_size": [96] * 3, "mean": 0, "std": 1}
    torch.save(content | beside, tmp_path / "theirs.pt")
    with pytest.raises(ValueError, match=r"theirs\.pt: patch_size, mean and std must be"):
        import_published("vnet_left_atrium", tmp_path / "theirs.pt", tmp_path / "model.pt", variant="baseline")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pt"]


def test_a_v_net_without_them_is_used_with_each_volumes_own_intensities(listed: Callable, tmp_path: Path):
    torch.save(listed("vnet_left_atrium", "vnet_baseline"), tmp_path / "theirs.pt")
    done = import_published("vnet_left_atrium", tmp_path / "theirs.pt", tmp_path / "model.pt", variant="baseline")
    assert done.plan["intensity"] == "case" and not {"mean", "std"} & done.plan.keys()


def test_a_lightning_checkpoint_of_the_u_net_is_taken_without_its_loss(unet_file: Path, tmp_path: Path):
    content = torch.load(unet_file, weights_only=True)
    content["state_dict"]["loss_fn.weight"] = torch.ones(3)
    torch.save(content, unet_file)
    done = import_published("unet_liver_tumor", unet_file, tmp_path / "model.pt")
    assert (len(done.mapped), done.left_out) == (30, ["epoch", "loss_fn.weight", "lr_schedulers"])
    assert (done.plan["spacing"], done.plan["component_filter"]) == (None, False)


@pytest.mark.parametrize("variant", ["pytorch_discriminator_in1", "pytorch_discriminator_in4"])
def test_vox2voxs_state_dicts_are_taken(listed: Callable, variant: str, tmp_path: Path):
    state = listed("vox2vox", variant)
    torch.save(state, tmp_path / "discriminator_199.pth")
    import_published("vox2vox", tmp_path / "discriminator_199.pth", tmp_path / "discriminator.pt", variant=variant)
    assert_written(tmp_path / "discriminator.pt", state, "Vox2VoxDiscriminator")


def test_vox2voxs_keras_weights_are_taken_as_a_list_of_arrays(shared_papers: Path, tmp_path: Path):
    listing = json.loads((shared_papers / "vox2vox_state_dict.json").read_text())
    entries = listing["variants"]["tensorflow_discriminator"]["entries"]
    arrays = [np.random.default_rng(n).random(entry["shape"], np.float32) for n, entry in enumerate(entries)]
    np.savez(tmp_path / "theirs.npz", *arrays)
    import_published("vox2vox", tmp_path / "theirs.npz", tmp_path / "ours.pt", variant="tensorflow_discriminator")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert np.array_equal(ours["block1.conv.weight"].numpy(), arrays[0].transpose(4, 3, 0, 1, 2))


@pytest.mark.parametrize("bundle", PUBLISHED)
def test_every_variant_names_overlays_and_a_network_that_the_bundle_has(bundle: str):
    configs = REPOSITORY / "bundles" / bundle / "configs"
    for name, known in PUBLISHED[bundle].items():
        parser = ConfigParser()
        parser.read_config([str(configs / file) for file in ("train.json", *known.overlays)])
        assert parser[f"{known.network}#_target_"].split(".")[-1] in KEY_MAPS, name
