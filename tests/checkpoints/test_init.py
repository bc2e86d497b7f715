"""A training that starts from weights: what is taken, what is new, and what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch

from common.checkpoints import init_record, save_atomically, start_from, weights_file
from common.networks import EfficientSegNet, OSSNet, UNet3d

SMALL = {"channels": [4, 8, 16]}
OSS = {"channels": [4, 8], "low_shape": [4, 4, 4], "width": 16}


def saved(network: torch.nn.Module, file: Path, /, **plan: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_atomically(network.state_dict(), file)
    if plan:
        file.with_name("plan.json").write_text(json.dumps(plan))
    return file


def started(network: torch.nn.Module, file: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log while a network starts from a file."""
    with caplog.at_level(logging.INFO, logger="common.checkpoints.init"):
        start_from(file, network)
    return caplog.messages


def test_every_tensor_that_fits_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs, ours = UNet3d(1, 3, **SMALL), UNet3d(1, 3, **SMALL)
    (line,) = started(ours, saved(theirs, tmp_path / "model.pt"), caplog)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert line.endswith(f"{len(ours.state_dict())} of {len(ours.state_dict())} tensors")


def test_a_first_and_a_last_layer_that_differ_are_new_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, ours = UNet3d(1, 3, **SMALL), UNet3d(3, 7, **SMALL)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    _, *lines = started(ours, saved(theirs, tmp_path / "model.pt"), caplog)
    assert lines == [
        "first layer encoder.0.conv1.weight: 3 channels instead of 1, new",
        "last layer output.weight: 7 channels instead of 3, new",
        "last layer output.bias: 7 channels instead of 3, new",
    ]
    new = {line.split()[2].rstrip(":") for line in lines}
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key] if key in new else theirs.state_dict()[key]), key


@pytest.mark.parametrize(
    ("theirs", "ours", "new"),
    [
        (
            EfficientSegNet(1, 4),
            EfficientSegNet(2, 2),
            {"encoder.0.0.main.0.conv", "encoder.0.0.shortcut.conv", "output"},
        ),
        (
            OSSNet(4, 1, variant="D", **OSS),
            OSSNet(1, 3, variant="D", **OSS),
            {"encoder.blocks.0.conv1", "encoder.blocks.0.skip", "encoder.segmentation", "decoder.output"}
            | {"decoder.patch_encoder.conv1", "decoder.patch_encoder.conv2"},
        ),
    ],
    ids=["EfficientSegNet", "OSSNet"],
)
def test_everything_that_sees_the_image_or_gives_the_answer_may_differ(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, theirs: torch.nn.Module, ours: torch.nn.Module, new: set[str]
) -> None:
    _, *lines = started(ours, saved(theirs, tmp_path / "model.pt"), caplog)
    named = {line.split()[2].removesuffix(":").rpartition(".")[0] for line in lines}
    assert named == new


@pytest.mark.parametrize("other", [UNet3d(1, 3, channels=[8, 16, 32]), UNet3d(1, 3, channels=[4, 8, 16, 32])])
def test_another_network_is_refused_in_one_line_and_nothing_is_taken(tmp_path: Path, other: torch.nn.Module) -> None:
    ours = UNet3d(1, 3, **SMALL)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=r"init=.*model\.pt: the weights do not fit UNet3d") as error:
        start_from(saved(other, tmp_path / "model.pt"), ours)
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


def test_a_network_three_times_as_wide_for_three_times_the_channels_is_another(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        start_from(saved(UNet3d(1, 3, **SMALL), tmp_path / "model.pt"), UNet3d(3, 3, channels=[12, 24, 48]))


def test_weights_whose_plan_names_another_network_are_refused(tmp_path: Path) -> None:
    """Instance normalization has no weights: only the plan tells."""
    file = saved(UNet3d(1, 3, norm="instance", **SMALL), tmp_path / "model.pt", network="another")
    with pytest.raises(ValueError, match=r"configured otherwise, as plan\.json beside it says"):
        start_from(file, UNet3d(1, 3, norm="instance", **SMALL))


@pytest.mark.parametrize("given", ["run", "run/models", "run/models/model.pt"])
def test_the_weights_of_a_run_are_found_by_its_folder_and_by_their_own(tmp_path: Path, given: str) -> None:
    file = saved(UNet3d(1, 3, **SMALL), tmp_path / "run/models/model.pt")
    assert weights_file(tmp_path / given) == file


def test_an_earlier_stage_starts_from_its_own_weights_where_there_are_any(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = UNet3d(1, 3, **SMALL)
    saved(network, tmp_path / "model.pt")
    with caplog.at_level(logging.INFO):
        start_from(tmp_path, network, name="locator")
    assert "holds no locator.pt: this stage starts as initialized" in caplog.text
    assert weights_file(saved(network, tmp_path / "locator.pt").parent, "locator") == tmp_path / "locator.pt"


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"init=.*nowhere: no such file or folder"):
        weights_file(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"init=.*: holds no model\.pt"):
        weights_file(tmp_path)


def test_the_record_names_the_weights_their_hash_and_the_cases_behind_them(tmp_path: Path) -> None:
    earlier = {"weights": "x", "sha256": "y", "cases": ["c"]}
    file = saved(UNet3d(1, 3, **SMALL), tmp_path / "heart/models/model.pt", cases=["b", "a"], init=earlier)
    record = init_record(tmp_path / "heart", tmp_path / "new")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert record == {"weights": "heart/models/model.pt", "sha256": digest, "cases": ["a", "b", "c"]}


def test_a_training_that_goes_on_keeps_its_record(tmp_path: Path) -> None:
    saved(UNet3d(1, 3, **SMALL), tmp_path / "model_epoch=2.pt", init={"weights": "x"})
    assert init_record(None, tmp_path, resume=True) == {"weights": "x"}
    assert init_record(None, tmp_path, resume=False) is None
