"""Weights in half precision: who can read them, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import monai.bundle
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import CheckpointLoader
from monai.networks.nets import UNet
from torch import nn

from common.checkpoints import load_weights, save_atomically, save_weights
from tests import forks

REPOSITORY = Path(__file__).parents[2]

OPTIONS = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2], "norm": "batch"}


def network() -> UNet:
    """A small network with integer buffers (batch normalization)."""
    return UNet(**OPTIONS)


@pytest.fixture
def trained() -> UNet:
    net = network()
    net(torch.randn(2, 1, 8, 8, 8))  # moves the running statistics
    return net


@pytest.fixture
def file(trained, tmp_path) -> Path:
    save_weights(trained, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def rounded(net: nn.Module) -> dict[str, torch.Tensor]:
    """What half precision leaves of the weights, in the network's own types."""
    return {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in net.state_dict().items()}


def assert_same(net: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(net.state_dict(), expected, rtol=0, atol=0, check_dtype=True)


def test_file_is_a_plain_state_dict_of_halves_and_integers(file):
    state = torch.load(file, weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16, torch.int64}


def test_loads_back_in_single_precision(file, trained):
    net = network()
    load_weights(file, net)
    assert_same(net, rounded(trained))


def test_torch_alone_loads_it(file, trained):
    net = network()
    net.load_state_dict(torch.load(file, weights_only=True))
    assert_same(net, rounded(trained))


def test_monais_checkpoint_loader_loads_it(file, trained):
    net = network()
    CheckpointLoader(load_path=str(file), load_dict={"model": net}, map_location="cpu")(Engine(lambda e, b: None))
    assert_same(net, rounded(trained))


def test_monai_bundle_load_gives_the_network_with_its_weights(trained, tmp_path):
    root = tmp_path / "tiny"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    config = {"network_def": {"_target_": "UNet", **OPTIONS}, "run": []}
    (root / "configs" / "train.json").write_text(json.dumps(config))
    (root / "configs" / "metadata.json").write_text("{}")
    save_weights(trained, root / "models" / "model.pt")
    assert_same(monai.bundle.load("tiny", bundle_dir=tmp_path, device="cpu"), rounded(trained))


def test_what_else_torch_was_told_to_load_stays_known(file):
    import common.datasets.cache  # noqa: F401 - which names NumPy's types for volumes

    before = set(torch.serialization.get_safe_globals())
    load_weights(file, network())
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such file of weights"):
        load_weights(tmp_path / "none.pt", network())


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.pt: cannot be read as weights: truncated"):
        load_weights(file, network())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        (b"", "truncated"),
        (pickle.dumps({"weight": 1}, protocol=4), "truncated, or not of torch.save"),
    ],
    ids=["web page", "pointer", "empty", "pickle"],
)
def test_a_file_of_another_kind_is_refused_in_one_line_without_torchs_advice(file, content, what, recwarn):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"model\.pt: cannot be read as weights: {what}") as error:
        load_weights(file, network())
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)
    assert [str(warning.message) for warning in recwarn] == []


def test_a_zip_that_unpacks_to_more_than_its_size_is_refused_before_it_is_unpacked(file):
    with zipfile.ZipFile(file) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in entries.items():
            new.writestr(name, bytes(10**7) if name.endswith("/data/0") else content)
    with pytest.raises(ValueError, match=r"model\.pt: cannot be read as weights: a zip bomb that unpacks to 10 MB"):
        load_weights(file, network())


def test_too_little_memory_is_no_fault_of_the_file(file, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(MemoryError):
        load_weights(file, network())


def test_the_state_dict_of_monais_checkpoint_saver_is_found_by_its_name(trained, tmp_path):
    torch.save({"model": trained.state_dict()}, tmp_path / "model.pt")
    net = network()
    load_weights(tmp_path / "model.pt", net, name="model")
    assert_same(net, trained.state_dict())


class Hostile:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_with_code_is_refused_and_the_code_does_not_run(tmp_path):
    torch.save({"weight": Hostile(tmp_path / "ran")}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holding more than tensors"):
        load_weights(tmp_path / "model.pt", network())
    assert not (tmp_path / "ran").exists()


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds a Tensor, expected a state dict"):
        load_weights(tmp_path / "model.pt", network())


def test_weights_of_another_network_are_refused_with_the_file_named(file):
    with pytest.raises(ValueError, match=r"model\.pt: the weights do not fit UNet"):
        load_weights(file, UNet(**{**OPTIONS, "channels": [4, 16]}))


@pytest.mark.parametrize("value", [float("nan"), 70_000.0], ids=["nan", "beyond float16"])
def test_weights_that_half_precision_cannot_hold_are_not_written(trained, tmp_path, value):
    nn.init.constant_(trained.model[0].conv.bias, value)
    with pytest.raises(ValueError, match=r"not written.*model\.0\.conv\.bias"):
        save_weights(trained, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_and_nothing_else(file, tmp_path, monkeypatch):
    before = file.read_bytes()

    def full_disk(obj, stream) -> None:
        stream.write(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_atomically({}, file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


FULL = """
import resource, sys, torch
from common.checkpoints import save_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    save_atomically({"weight": torch.zeros(10_000_000)}, sys.argv[1])
except OSError as error:
    print(type(error).__name__, error.filename, error.strerror)
"""


def test_a_file_that_finds_no_room_is_an_error_of_the_file_system_that_names_it(tmp_path):
    (tmp_path / "full.py").write_text(FULL)
    done = forks.run([tmp_path / "full.py", tmp_path / "out/model.pt"], cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"OSError {tmp_path / 'out/model.pt'} File too large\n"
    assert list((tmp_path / "out").iterdir()) == []
