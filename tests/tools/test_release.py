"""A release page: what MONAI reads of it, and where large files are."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import monai.bundle
import pytest
from monai.bundle import scripts

from tools import release as releasing
from tools.download import download
from tools.pack import Packed
from tools.release import listed, release, set_apart

MODEL = Path(__file__).parents[2] / "bundles/vnet_left_atrium/models/model.pt"


@pytest.fixture
def page(tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A release page with one bundle whose weights count as large, and its address."""
    monkeypatch.setattr(releasing, "LARGE", MODEL.stat().st_size - 1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "dist"
    folder.mkdir()
    address = serve(folder)
    release("vnet_left_atrium", address + "/", folder=str(folder))
    return folder, address


def test_monai_finds_the_version_and_the_zip_on_the_page(
    page: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = page
    text = (folder / "model_info.json").read_text()
    answer = SimpleNamespace(text=text, raise_for_status=lambda: None)
    monkeypatch.setattr(scripts, "requests", SimpleNamespace(get=lambda url: answer))
    versions = monai.bundle.get_bundle_versions("vnet_left_atrium")
    assert versions == {"latest_version": "0.1.0", "all_versions": ["0.1.0"]}
    info = monai.bundle.get_bundle_info("vnet_left_atrium")
    assert info["browser_download_url"] == f"{address}/vnet_left_atrium_v0.1.0.zip"


def test_the_checksum_is_the_zips_sha_1(page: tuple[Path, str]) -> None:
    (entry,) = json.loads((page[0] / "model_info.json").read_text()).values()
    assert entry["checksum"] == hashlib.sha1((page[0] / "vnet_left_atrium_v0.1.0.zip").read_bytes()).hexdigest()


def test_large_weights_lie_beside_the_zip_which_says_where(page: tuple[Path, str]) -> None:
    assert {path.name for path in page[0].iterdir()} == {
        "model_info.json",
        "vnet_left_atrium_v0.1.0.zip",
        "vnet_left_atrium_v0.1.0_model.pt",
    }
    with zipfile.ZipFile(page[0] / "vnet_left_atrium_v0.1.0.zip") as archive:
        assert "vnet_left_atrium/models/model.pt" not in archive.namelist()
        assert "vnet_left_atrium/models/plan.json" in archive.namelist()
        assert "PyYAML==" in archive.read("vnet_left_atrium/requirements.txt").decode()
        assert "download_large_files" in archive.read("vnet_left_atrium/docs/README.md").decode()


def test_what_is_released_arrives_whole(page: tuple[Path, str], tmp_path: Path) -> None:
    download("vnet_left_atrium", page[1], folder=str(tmp_path / "there"))
    assert (tmp_path / "there/vnet_left_atrium/models/model.pt").read_bytes() == MODEL.read_bytes()


def test_monais_own_commands_fetch_it_too(page: tuple[Path, str], tmp_path: Path) -> None:
    address = f"{page[1]}/vnet_left_atrium_v0.1.0.zip"
    monai.bundle.download(name="vnet_left_atrium", url=address, bundle_dir=str(tmp_path), progress=False)
    monai.bundle.download_large_files(str(tmp_path / "vnet_left_atrium"))
    assert (tmp_path / "vnet_left_atrium/models/model.pt").read_bytes() == MODEL.read_bytes()


def test_monai_pushes_an_unzipped_pack_with_its_model_card(
    page: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub itself is not asked: what would be uploaded is looked at."""
    pushed: dict[str, Path] = {}
    hub = SimpleNamespace(
        create_repo=lambda **_: None,
        create_tag=lambda **_: None,
        upload_folder=lambda repo_id, folder_path: pushed.update({repo_id: Path(folder_path)}),
    )
    monkeypatch.setattr(scripts, "huggingface_hub", SimpleNamespace(HfApi=lambda token: hub))
    download("vnet_left_atrium", page[1], folder=str(tmp_path))
    monai.bundle.push_to_hf_hub("me/b", name="vnet_left_atrium", bundle_dir=str(tmp_path), version="0.1.0")
    assert pushed == {"me/b": tmp_path / "vnet_left_atrium"}
    assert "license: apache-2.0" in (pushed["me/b"] / "README.md").read_text().splitlines()[:7]


def packed(size: int) -> Packed:
    entries = {"models/model.pt": bytes(size), "docs/README.md": b"# B\n\ntext\n", "requirements.txt": b""}
    return Packed("b", "b_v0.1.0", entries, "")


def test_weights_of_25_mb_stay_in_the_zip_and_one_byte_more_does_not() -> None:
    whole, large = packed(25_000_000), packed(25_000_001)
    assert set_apart(whole, "https://a") == {} and "large_files.yml" not in whole.entries
    assert list(set_apart(large, "https://a")) == ["b_v0.1.0_model.pt"] and "models/model.pt" not in large.entries


def test_a_page_keeps_what_it_lists_already(tmp_path: Path) -> None:
    (tmp_path / "model_info.json").write_text(json.dumps({"a_v0.1.0": {"checksum": "1", "source": "x"}}))
    (tmp_path / "b_v0.2.0_my run.zip").write_bytes(b"zip")
    entries = listed(tmp_path / "b_v0.2.0_my run.zip", "https://a.org/page")
    assert entries["a_v0.1.0"] == {"checksum": "1", "source": "x"}
    assert entries["b_v0.2.0_my run"]["source"] == "https://a.org/page/b_v0.2.0_my%20run.zip"


@pytest.mark.parametrize(
    "source", ["", "dist", "ftp://a.org/page", "https://", "https://a.org/x#y", "https://a.org/a b", "https://a.org/?q"]
)
def test_a_page_without_an_address_is_not_written(source: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"SOURCE={re.escape(source)}: name the URL"):
        release("vnet_left_atrium", source, folder=str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("content", ["<html>", "[]", "{"])
def test_a_damaged_list_is_refused_before_anything_is_written(content: str, tmp_path: Path) -> None:
    (tmp_path / "model_info.json").write_text(content)
    with pytest.raises(ValueError, match=r"model_info\.json: (is a web page|is damaged|holds a list)"):
        release("vnet_left_atrium", "https://a.org/page", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model_info.json"]
