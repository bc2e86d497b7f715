"""What `make verify` finds wrong, on a bundle of one convolution."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from tools.verify import SCHEMA, main, outcome, verify
from tools.verify_configs import combinations
from tools.verify_networks import described, in_out, onnx, torchscript

TENSOR = {
    "type": "image",
    "format": "magnitude",
    "num_channels": 1,
    "spatial_shape": ["4*n", "4*n", "4*n"],
    "dtype": "float32",
    "value_range": [],
}
METADATA = {
    "schema": f"https://example.org/{SCHEMA.name}",
    "version": "1.0.0",
    "changelog": {"1.0.0": "first"},
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "required_packages_version": {"scipy": "1.17.1"},
    "task": "a task",
    "description": "a description",
    "authors": "authors",
    "copyright": "copyright",
    "network_data_format": {"inputs": {"image": TENSOR}, "outputs": {"pred": {**TENSOR, "format": "segmentation"}}},
}
# The keys that the specification calls required, in the order in which MONAI's documentation has them.
REQUIRED = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
REQUIRED += ["task", "description", "authors", "copyright", "network_data_format"]


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """``tiny(metadata={...}, network="...")``: a bundle whose network is one convolution of 3 x 3 x 3 voxels."""

    def write(metadata: dict | None = None, network: str = "$@network_def.to(@device)", **ids: object) -> Path:
        folder = tmp_path / "tiny"
        (folder / "configs").mkdir(parents=True)
        (folder / "docs").mkdir()
        for name in ("LICENSE", "docs/README.md", "docs/data_license.txt"):
            (folder / name).write_text("text\n")
        convolution = {
            "_target_": "torch.nn.Conv3d",
            "in_channels": 1,
            "out_channels": 1,
            "kernel_size": 3,
            "padding": 1,
        }
        config = {"device": "cpu", "network_def": convolution, "network": network, **ids}
        for name in ("train.json", "inference.json"):
            (folder / "configs" / name).write_text(json.dumps(config))
        (folder / "configs/metadata.json").write_text(json.dumps({**METADATA, **(metadata or {})}))
        return folder

    return write


def faults(metadata: dict) -> list[str]:
    return [error.message for error in Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(metadata)]


def test_the_schema_is_a_valid_schema_and_accepts_complete_metadata() -> None:
    Draft7Validator.check_schema(json.loads(SCHEMA.read_text()))
    assert faults(METADATA) == []


@pytest.mark.parametrize("key", REQUIRED)
def test_the_schema_rejects_metadata_without_a_required_key(key: str) -> None:
    assert faults({name: value for name, value in METADATA.items() if name != key}) == [
        f"'{key}' is a required property"
    ]


@pytest.mark.parametrize("key", TENSOR)
def test_the_schema_rejects_a_tensor_without_a_required_key(key: str) -> None:
    changed = copy.deepcopy(METADATA)
    del changed["network_data_format"]["inputs"]["image"][key]
    assert faults(changed) == [f"'{key}' is a required property"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", "volume"),
        ("format", "pixels"),
        ("num_channels", "1"),
        ("num_channels", 0),
        ("num_channels", 1.5),
        ("spatial_shape", "16*n"),
        ("spatial_shape", ["16*m", 16, 16]),
        ("spatial_shape", [0, 16, 16]),
        ("dtype", "float"),
        ("value_range", None),
        ("value_range", [0]),
        ("value_range", [0, 1, 2]),
        ("value_range", [0, "1"]),
        ("is_patch_data", "true"),
        ("channel_def", {"first": "image"}),
    ],
)
def test_the_schema_rejects_a_wrongly_typed_tensor(key: str, value: object) -> None:
    for name in ("network_data_format", "second_data_format"):
        changed = json.loads(json.dumps({**METADATA, "second_data_format": METADATA["network_data_format"]}))
        changed[name]["outputs"]["pred"][key] = value
        assert len(faults(changed)) == 1


@pytest.mark.parametrize("size", [16, "*", "16*n", "2**p", "2**p*n", "16*(n+1)"])
def test_the_schema_accepts_every_way_to_give_a_size(size: object) -> None:
    changed = copy.deepcopy(METADATA)
    changed["network_data_format"]["inputs"]["image"]["spatial_shape"] = [size] * 3
    assert faults(changed) == []


def test_a_whole_bundle_passes_what_needs_no_data(tiny: Callable[..., Path]) -> None:
    assert [result.fault for result in islice(verify(tiny()), 3)] == [None] * 3


def test_missing_files_are_named_in_one_line(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    (folder / "LICENSE").unlink()
    (folder / "docs/data_license.txt").unlink()
    line = str(next(verify(folder)))
    assert line.startswith("FAIL structure")
    assert line.endswith("missing: LICENSE, docs/data_license.txt")


def test_a_version_that_the_changelog_lacks_fails(tiny: Callable[..., Path]) -> None:
    _, line, *_ = map(str, islice(verify(tiny({"version": "1.1.0"})), 3))
    assert line.startswith("FAIL version in changelog")
    assert line.endswith("configs/metadata.json: version 1.1.0 is not in its changelog (which has 1.0.0)")


def test_metadata_against_the_schema_fails_with_the_reason_in_one_line(tiny: Callable[..., Path]) -> None:
    *_, line = map(str, islice(verify(tiny({"authors": 3})), 3))
    assert line.startswith("FAIL metadata against the schema")
    assert line.endswith("3 is not of type 'string'")


def test_metadata_that_names_another_schema_fails(tiny: Callable[..., Path]) -> None:
    *_, result = islice(verify(tiny({"schema": "https://example.org/meta_schema_20220324.json"})), 3)
    assert "expected the newest, meta_schema_20240725.json" in result.fault


def test_a_schema_file_that_is_not_there_is_an_error_and_no_download(tiny: Callable[..., Path], tmp_path: Path) -> None:
    *_, result = islice(verify(tiny(), schema=tmp_path / SCHEMA.name), 3)
    assert result.fault == f"{tmp_path / SCHEMA.name}: no such schema file"


@pytest.mark.parametrize("check", [in_out, torchscript, onnx])
def test_a_network_as_the_metadata_describes_it_passes(tiny: Callable[..., Path], check: Callable) -> None:
    folder = tiny()
    (network,) = described(folder)
    assert outcome("network", lambda: check(folder, network)).fault is None


def test_an_export_leaves_nothing_in_the_systems_temporary_folder(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(system))
    folder = tiny()
    (network,) = described(folder)
    assert outcome("network", lambda: onnx(folder, network)).fault is None
    assert list(system.iterdir()) == []
    assert tempfile.gettempdir() == str(system)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_channels": 2}, "output channel number `1` doesn't match: `2`."),
        ({"dtype": "float64"}, "dtype of output data `torch.float32` doesn't match: torch.float64."),
        ({"spatial_shape": [4, 4, 8]}, "spatial shape of the output is (4, 4, 4), the metadata says (4, 4, 8)"),
    ],
)
def test_a_network_that_does_not_match_its_metadata_fails(tiny: Callable[..., Path], change: dict, reason: str) -> None:
    data_format = {"inputs": {"image": TENSOR}, "outputs": {"pred": {**TENSOR, **change}}}
    folder = tiny({"network_data_format": data_format})
    (network,) = described(folder)
    assert outcome("network", lambda: in_out(folder, network)).fault == reason


@pytest.mark.parametrize("check", [torchscript, onnx])
def test_an_export_that_gives_other_numbers_than_the_configs_network_fails(
    tiny: Callable[..., Path], check: Callable
) -> None:
    other = "$torch.nn.Conv3d(1, 1, 3, padding=1, padding_mode='replicate')"  # the same weights, another border
    folder = tiny(network=other)
    (network,) = described(folder)
    assert "the exported network differs from the eager one" in outcome("", lambda: check(folder, network)).fault


def test_a_second_network_is_found_by_the_name_of_its_data_format(tiny: Callable[..., Path]) -> None:
    second = {"network": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}}
    folder = tiny({"coarse_data_format": METADATA["network_data_format"]}, coarse=second)
    assert [(n.net_id, n.weights) for n in described(folder)] == [
        ("network", "model.pt"),
        ("coarse#network", "coarse.pt"),
    ]


def test_a_data_format_without_a_network_fails(tiny: Callable[..., Path]) -> None:
    folder = tiny({"coarse_data_format": METADATA["network_data_format"]})
    with pytest.raises(ValueError, match="coarse_data_format, but no config has the id coarse#network or coarse"):
        described(folder)


def test_a_config_without_the_properties_that_consumers_need_fails(
    tiny: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(str(tiny(layout="atria2018")))
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == "2 of the checks failed"  # as text, it is printed, and the exit code is 1
    assert [line.split("  ")[0] for line in lines if line.startswith("FAIL")] == [
        "FAIL properties of train.json",
        "FAIL properties of inference.json",
    ]


def test_each_overlay_is_merged_onto_what_its_name_and_ids_say(tmp_path: Path) -> None:
    files = {
        "train.json": {"a": 1, "handlers": []},
        "train_first.json": {"a": 1},
        "evaluate.json": {"e": 1},
        "inference.json": {"i": 1},
        "metadata.json": {},
        "more.json": {"+handlers": [1]},
        "more_first.json": {"a": 2},
        "report.json": {"e": 2},
        "tta.json": {"i": 2},
        "paper.json": {"a": 3},
        "experiments/1_row.json": {"a": 4},
        "multi_gpu_evaluate.json": {"anything": 1},
    }
    (tmp_path / "experiments").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert {(combination.kind, *combination.files) for combination in combinations(tmp_path)} == {
        ("train", "train.json"),
        ("train", "train_first.json"),
        ("train", "train.json", "evaluate.json"),
        ("infer", "inference.json"),
        ("train", "train.json", "more.json"),
        ("train", "train_first.json", "more_first.json"),
        ("train", "train.json", "evaluate.json", "report.json"),
        ("infer", "inference.json", "tta.json"),
        ("train", "train.json", "paper.json"),
        ("train", "train.json", "paper.json", "experiments/1_row.json"),
        ("train", "train.json", "evaluate.json", "multi_gpu_evaluate.json"),
    }


@pytest.mark.parametrize("check", [in_out, torchscript, onnx])
def test_weights_that_cannot_be_read_fail_by_name_without_torchs_advice(
    tiny: Callable[..., Path], check: Callable
) -> None:
    folder = tiny()
    (folder / "models").mkdir()
    (folder / "models/model.pt").write_bytes(b"<html>sign in</html>")
    (network,) = described(folder)
    fault = outcome("network", lambda: check(folder, network)).fault
    assert fault.startswith(f"{folder}/models/model.pt: cannot be read as weights")
    assert "weights_only" not in fault


def test_metadata_that_is_no_json_is_named(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    (folder / "configs/metadata.json").write_text("<html>")
    assert (
        "metadata.json: is a web page, expected JSON" in [result.fault or "" for result in islice(verify(folder), 2)][1]
    )
