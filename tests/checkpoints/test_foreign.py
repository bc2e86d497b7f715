"""What is refused of others' files, with nothing written; and the command."""

from __future__ import annotations

import pickle
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.checkpoints import import_published
from common.checkpoints.published import PUBLISHED
from tests import forks

REPOSITORY = Path(__file__).parents[2]

State = dict[str, torch.Tensor]


def command(*arguments: object) -> subprocess.CompletedProcess:
    return forks.run(["-m", "common.checkpoints", *arguments], cwd=REPOSITORY)


def truncate(file: Path, state: State) -> str:
    file.write_bytes(file.read_bytes()[:-1000])
    return "cannot be read as weights: truncated"


def run_code(file: Path, state: State) -> str:
    class Hostile:
        def __reduce__(self) -> tuple[Callable, tuple]:
            return Path.touch, (file.with_name("ran"),)

    torch.save({"state_dict": state, "hook": Hostile()}, file)
    return "holding more than tensors"


def pickle_alone(file: Path, state: State) -> str:
    file.write_bytes(pickle.dumps({"state_dict": print}))
    return "cannot be read as weights"


def foreign(file: Path, state: State) -> str:
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}}, file)
    return "the weights do not fit UNet3d"


def one_key_more(file: Path, state: State) -> str:
    torch.save({**state, "model.layer9.weight": torch.zeros(1)}, file)
    return r"unknown: model\.layer9\.weight"


def one_key_less(file: Path, state: State) -> str:
    torch.save({key: value for key, value in state.items() if key != "model.layer8.bias"}, file)
    return r"missing: output\.bias"


def other_shape(file: Path, state: State) -> str:
    torch.save({**state, "model.layer8.bias": torch.zeros(4)}, file)
    return r"shape \(4,\), expected \(3,\)"


def not_a_number(file: Path, state: State) -> str:
    torch.save({**state, "model.layer8.bias": torch.tensor([0.0, float("nan"), float("inf")])}, file)
    return "2 values are not finite"


def no_tensor(file: Path, state: State) -> str:
    torch.save({**state, "model.layer8.bias": "zeros"}, file)
    return "a str, expected a tensor"


def sparse(file: Path, state: State) -> str:
    torch.save({**state, "model.layer8.bias": torch.zeros(3).to_sparse()}, file)
    return "expected a plain tensor"


def no_dictionary(file: Path, state: State) -> str:
    torch.save([torch.zeros(3)], file)
    return "holds a list"


def numbers_for_keys(file: Path, state: State) -> str:
    torch.save({1: torch.zeros(3)}, file)
    return "holds no state dict"


FAULTS = [truncate, run_code, pickle_alone, foreign, one_key_more, one_key_less]
FAULTS += [other_shape, not_a_number, no_tensor, sparse, no_dictionary, numbers_for_keys]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_bad_file_is_refused_in_one_line_and_nothing_is_written(
    unet_file: Path, fault: Callable[[Path, State], str], tmp_path: Path
):
    reason = fault(unet_file, torch.load(unet_file, weights_only=True)["state_dict"])
    with pytest.raises(ValueError, match=reason) as error:
        import_published("unet_liver_tumor", unet_file, tmp_path / "new/model.pt")
    assert str(error.value).startswith(f"{unet_file}: ") and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [unet_file.name]


def test_a_target_that_exists_stays_as_it_is_where_the_new_file_is_refused(unet_file: Path, tmp_path: Path):
    (tmp_path / "model.pt").write_bytes(b"old")
    (tmp_path / "plan.json").write_bytes(b"old too")
    truncate(unet_file, {})
    with pytest.raises(ValueError, match="truncated"):
        import_published("unet_liver_tumor", unet_file, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == b"old" and (tmp_path / "plan.json").read_bytes() == b"old too"


def test_a_plan_of_other_weights_is_not_overwritten(unet_file: Path, tmp_path: Path):
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"plan\.json: belongs to other weights"):
        import_published("unet_liver_tumor", unet_file, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_a_disk_that_fills_up_leaves_nothing_behind(unet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(content: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        import_published("unet_liver_tumor", unet_file, tmp_path / "new/model.pt")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("bundle", ["oss_net", "vnet_left_atrium"])
def test_an_unknown_variant_is_told_which_there_are(bundle: str, tmp_path: Path):
    with pytest.raises(ValueError, match=f"--variant e: .*{', '.join(PUBLISHED[bundle])}"):
        import_published(bundle, tmp_path / "theirs.pt", tmp_path / "model.pt", variant="e")


def test_an_unknown_bundle_is_told_which_there_are(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"unet: no such bundle; .*unet_liver_tumor"):
        import_published("unet", tmp_path / "theirs.pt", tmp_path / "model.pt")


def test_the_command_refuses_with_one_line_and_exit_code_1(unet_file: Path, tmp_path: Path):
    run_code(unet_file, {})
    done = command("unet_liver_tumor", unet_file, tmp_path / "model.pt")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "more than tensors and numbers: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [unet_file.name]


def test_the_command_prints_the_place_of_every_tensor(unet_file: Path, tmp_path: Path):
    done = command("unet_liver_tumor", unet_file, tmp_path / "model.pt")
    assert done.returncode == 0, done.stderr
    assert "model.layer8.bias -> output.bias (3,)" in done.stdout.splitlines()
    assert len([line for line in done.stdout.splitlines() if " -> " in line]) == 30


def test_inference_runs_with_imported_weights_as_the_command_says(listed: Callable, tmp_path: Path):
    """Both stages of the original V-Net, random weights: a file of labels comes out, for a made-up patient."""
    from common.phantoms import WRITERS

    WRITERS["atria2018"](str(tmp_path / "scans"), 1, 0)
    state = {
        key: value / 50 if "weight" in key else value
        for key, value in listed("vnet_left_atrium", "vnet_baseline").items()
    }
    beside = {"patch_size": [16, 32, 32], "mean": np.float64(60.0), "std": np.float64(30.0)}
    torch.save({"model_state": state, **beside}, tmp_path / "theirs.pt")
    torch.save({"locator_model_state": state}, tmp_path / "locator_theirs.pt")
    for variant, file in (("locator", "locator_theirs.pt"), ("baseline", "theirs.pt")):
        target = tmp_path / "weights" / {"locator": "locator.pt"}.get(variant, "model.pt")
        done = command("vnet_left_atrium", tmp_path / file, target, "--variant", variant)
        assert done.returncode == 0, done.stderr
    _, *line = shlex.split(done.stdout.splitlines()[-1])
    words = {"SCANS": tmp_path / "scans", "OUT": tmp_path / "out"}
    line = [*(words.get(word, word) for word in line), "--device", "cpu", "--num_workers", "0"]
    ran = forks.run(line, cwd=REPOSITORY / "bundles/vnet_left_atrium")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(list((tmp_path / "out").glob("*_seg.nrrd"))) == 1
