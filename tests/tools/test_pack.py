"""What the zip of a bundle is made of, and what is not packed at all."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from common.files import readable
from common.networks import VNet
from tools import pack as packing
from tools.pack import pack, requirements, write_zip

BUNDLE = Path(__file__).parents[2] / "bundles/vnet_left_atrium"


def test_a_zip_has_sorted_names_one_date_and_one_mode(tmp_path: Path) -> None:
    write_zip(tmp_path / "new/a.zip", {"b/z": b"1", "b/A": b"2", "b/a": b"3"})
    with zipfile.ZipFile(tmp_path / "new/a.zip") as archive:
        assert archive.namelist() == ["b/A", "b/a", "b/z"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_zip_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_zip(tmp_path / "a.zip", {"a": None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file", sorted(BUNDLE.parent.glob("*/configs/*.json")), ids=lambda f: f"{f.parts[-3]}-{f.stem}"
)
def test_a_config_written_anew_says_the_same_in_at_most_200_lines(file: Path) -> None:
    text = readable(json.loads(file.read_text()))
    assert json.loads(text) == json.loads(file.read_text())
    assert len(text.splitlines()) <= 200


def test_short_arrays_stand_on_one_line() -> None:
    assert readable({"spacing": [1, 2, 3], "name": "é"}) == '{\n    "spacing": [1, 2, 3],\n    "name": "é"\n}\n'


def test_a_dependency_without_a_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch", "monai"]\n')
    (tmp_path / "constraints.txt").write_text("# pins\ntorch==2.13.0\n")
    with pytest.raises(ValueError, match=r"constraints\.txt: no version of monai, which pyproject\.toml needs"):
        requirements()


def test_a_run_without_weights_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"model\.pt: no such weights; RUN= is the folder of a training run"):
        pack("vnet_left_atrium", run=str(tmp_path), folder=str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()


def test_a_run_of_another_network_is_not_packed_without_its_overlays(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    torch.save(VNet(attention=True).state_dict(), tmp_path / "models/model.pt")
    with pytest.raises(SystemExit, match="Give pack the OVERLAYS= of the training"):
        pack("vnet_left_atrium", run=str(tmp_path), folder=str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()


def test_the_shipped_weights_are_not_packed_with_another_recipes_network(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="OVERLAYS= belongs to RUN="):
        pack("vnet_left_atrium", merge="paper.json", folder=str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()


def truncated(models: Path) -> str:
    (models / "model.pt").write_bytes((BUNDLE / "models/model.pt").read_bytes()[:1000])
    return r"model\.pt: cannot be read as weights: truncated"


def hostile(models: Path) -> str:
    with zipfile.ZipFile(models / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
        archive.writestr("archive/version", b"3")
    return r"model\.pt: cannot be read as weights: holding more than tensors and numbers: (os|posix)\.system"


def broken_locator(models: Path) -> str:
    (models / "locator.pt").write_bytes(b"<html>")
    return r"locator\.pt: cannot be read as weights"


def no_fit(models: Path) -> str:
    (models / "plan.json").unlink()
    return r"plan\.json: "


def broken_fit(models: Path) -> str:
    (models / "plan.json").write_text((BUNDLE / "models/plan.json").read_text()[:100])
    return r"plan\.json: is damaged or no JSON"


def other_fit(models: Path) -> str:
    (models / "plan.json").write_text("{}")
    return r"plan\.json: says nothing of the network"


@pytest.mark.parametrize("fault", [truncated, hostile, broken_locator, no_fit, broken_fit, other_fit])
def test_broken_weights_are_not_packed_and_named_without_torchs_advice(tmp_path: Path, fault) -> None:
    (tmp_path / "models").mkdir()
    for name in ("model.pt", "plan.json"):
        shutil.copy(BUNDLE / "models" / name, tmp_path / "models" / name)
    with pytest.raises(SystemExit, match=fault(tmp_path / "models")) as end:
        pack("vnet_left_atrium", run=str(tmp_path), folder=str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()
    assert "weights_only" not in end.value.code and "OVERLAYS" not in end.value.code


def test_weights_of_another_network_name_five_tensors_and_say_how_many_more(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    torch.save({}, tmp_path / "models/model.pt")
    with pytest.raises(SystemExit) as end:
        pack("vnet_left_atrium", run=str(tmp_path), folder=str(tmp_path / "dist"))
    count = len(VNet().state_dict())
    assert f"{count} faults" in end.value.code and f"and {count - 5} more" in end.value.code
    assert end.value.code.count("missing: ") == 5 and "\n" not in end.value.code
