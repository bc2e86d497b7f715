"""What is fetched from a release page, and what is refused with nothing unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.download import download

PLAIN = {"b/configs/metadata.json": b"{}", "b/LICENSE": b"Apache"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder to download to, which does not exist yet."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "here"


@pytest.fixture
def page(tmp_path: Path, serve: Callable[[Path], str]) -> Callable[..., str]:
    """``page({"b_v0.1.0": entries}, checksum=...)``: the address of a release page of such zips."""

    def make(zips: dict[str, dict], **listed: str) -> str:
        folder = tmp_path / "page"
        folder.mkdir()
        address, info = serve(folder), {}
        for name, entries in zips.items():
            with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
                for inside, data in entries.items():
                    archive.writestr(inside, data)
            checksum = hashlib.sha1((folder / f"{name}.zip").read_bytes()).hexdigest()
            info[name] = {"checksum": checksum, "source": f"{address}/{name}.zip", **listed}
        (folder / "model_info.json").write_text(json.dumps(info))
        return address

    return make


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


def refused(here: Path, *arguments: str, match: str) -> None:
    """It ends with exit code 1 and one line, and the folder is empty."""
    with pytest.raises(SystemExit, match=match) as end:
        download(*arguments, folder=str(here))
    assert "\n" not in end.value.code
    assert not here.exists() or list(here.iterdir()) == []


@pytest.mark.parametrize("path", ["", "/", "/model_info.json"])
def test_a_listed_bundle_is_fetched_by_the_pages_or_the_lists_address(page: Callable, here: Path, path: str) -> None:
    download("b", page({"b_v0.1.0": PLAIN}) + path, folder=str(here))
    assert {str(f.relative_to(here)): f.read_bytes() for f in here.rglob("*") if f.is_file()} == PLAIN


def test_a_folder_on_this_machine_is_a_page_too(page: Callable, here: Path, tmp_path: Path) -> None:
    page({"b_v0.1.0": PLAIN})
    download("b", str(tmp_path / "page"), folder=str(here))
    assert (here / "b/LICENSE").is_file()


def test_the_newest_version_is_fetched_unless_one_is_named(page: Callable, here: Path) -> None:
    zips = {f"b_v{n}": {"b/version": n.encode()} for n in ("0.9.0", "0.10.0", "0.11.0_my_run")}
    address = page(zips)
    for version, expected in ((None, "0.10.0"), ("0.9.0", "0.9.0"), ("0.11.0_my_run", "0.11.0_my_run")):
        download("b", address, version=version, folder=str(here / expected))
        assert (here / expected / "b/version").read_text() == expected


def test_another_checksum_than_the_listed_one_is_refused(page: Callable, here: Path) -> None:
    refused(here, "b", page({"b_v0.1.0": PLAIN}, checksum="0" * 40), match="sha1 hash check of downloaded file failed")


@pytest.mark.parametrize("checksum", ["", "0" * 39, "none"])
def test_a_bundle_without_a_checksum_is_refused(page: Callable, here: Path, checksum: str) -> None:
    refused(here, "b", page({"b_v0.1.0": PLAIN}, checksum=checksum), match="without a SHA-1 checksum")


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "b/../../out", "b/../out", "out", "c/in", "b/link"])
def test_a_zip_with_anything_that_leaves_the_bundles_folder_is_not_unpacked(
    page: Callable, here: Path, tmp_path: Path, name: str
) -> None:
    entry = link(name) if name == "b/link" else name
    refused(here, "b", page({"b_v0.1.0": {**PLAIN, entry: b"/etc"}}), match=r"b_v0\.1\.0\.zip: not unpacked, ")
    assert {path.name for path in tmp_path.iterdir()} <= {"page", "here"}


def test_a_file_that_is_no_zip_is_refused(page: Callable, here: Path, tmp_path: Path) -> None:
    address = page({"b_v0.1.0": PLAIN})
    (tmp_path / "page/b_v0.1.0.zip").write_bytes(b"<html>sign in first</html>")
    checksum = hashlib.sha1(b"<html>sign in first</html>").hexdigest()
    info = {"b_v0.1.0": {"checksum": checksum, "source": f"{address}/b_v0.1.0.zip"}}
    (tmp_path / "page/model_info.json").write_text(json.dumps(info))
    refused(here, "b", address, match="not a zip file")


def test_a_bundle_that_is_not_listed_is_told_what_is(page: Callable, here: Path) -> None:
    refused(here, "c", page({"b_v0.1.0": PLAIN}), match=r"lists no c; there are: b_v0\.1\.0")


def test_a_page_that_is_not_there_is_one_line(serve: Callable, here: Path, tmp_path: Path) -> None:
    refused(here, "b", serve(tmp_path), match="404")


@pytest.mark.parametrize("source", ["", "release.page"])
def test_what_is_neither_address_nor_folder_is_one_line(here: Path, source: str) -> None:
    refused(here, "b", source, match=f"SOURCE={source}: no URL, and no such folder")


def test_a_folder_that_exists_stays_as_it_is(page: Callable, here: Path) -> None:
    (here / "b").mkdir(parents=True)
    with pytest.raises(SystemExit, match="b: exists; move it away"):
        download("b", page({"b_v0.1.0": PLAIN}), folder=str(here))
    assert os.listdir(here / "b") == []


def with_large(data: bytes, **changes: str) -> dict[str, bytes]:
    """Entries of a bundle whose model.pt lies on the page as big.pt; a value of "" leaves the field out."""
    fields = {"path": "models/model.pt", "hash_val": hashlib.sha256(data).hexdigest(), "hash_type": "sha256", **changes}
    lines = [f'  {key}: "{value}"' for key, value in fields.items() if value]
    return {**PLAIN, "b/large_files.yml": "\n".join(["large_files:", "-", *lines]).encode()}


def test_large_files_are_fetched_too(page: Callable, serve: Callable, here: Path, tmp_path: Path) -> None:
    (tmp_path / "big.pt").write_bytes(b"weights")
    address = page({"b_v0.1.0": with_large(b"weights", url=f"{serve(tmp_path)}/big.pt")})
    download("b", address, folder=str(here))
    assert (here / "b/models/model.pt").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hash_val": "0" * 64}, "sha256 hash check of downloaded file failed"),
        ({"hash_val": ""}, "has no SHA-256"),
        ({"hash_type": "md5"}, "has no SHA-256"),
        ({"path": "../../out.pt"}, "Unsafe path"),
        ({"path": "/tmp/out.pt"}, "Unsafe path"),
    ],
    ids=str,
)
def test_a_large_file_that_is_another_or_leaves_the_folder_is_refused(
    page: Callable, serve: Callable, here: Path, tmp_path: Path, changes: dict[str, str], match: str
) -> None:
    (tmp_path / "big.pt").write_bytes(b"weights")
    address = page({"b_v0.1.0": with_large(b"weights", **{"url": f"{serve(tmp_path)}/big.pt", **changes})})
    refused(here, "b", address, match=match)
    assert not (tmp_path / "out.pt").exists()
