"""What is fetched from a release page, and what is refused with nothing unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import unpack as unpacking
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
    """It ends with one line, and the folder is empty."""
    with pytest.raises((ValueError, OSError), match=match) as error:
        download(*arguments, folder=str(here))
    assert "\n" not in str(error.value)
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
    refused(here, "b", page({"b_v0.1.0": PLAIN}, checksum="0" * 40), match="its sha1 is .*, the release page says 0000")


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


def listed_zip(folder: Path, write: Callable[[zipfile.ZipFile], None]) -> str:
    """A release page in a folder on this machine: one zip, with its own checksum."""
    folder.mkdir()
    file = folder / "b_v0.1.0.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    list_zip(folder)
    return str(folder)


def list_zip(folder: Path) -> None:
    file = folder / "b_v0.1.0.zip"
    entry = {"checksum": hashlib.sha1(file.read_bytes()).hexdigest(), "source": file.as_uri()}
    (folder / "model_info.json").write_text(json.dumps({"b_v0.1.0": entry}))


def test_a_zip_that_declares_far_more_than_its_own_size_is_not_unpacked(here: Path, tmp_path: Path) -> None:
    source = listed_zip(tmp_path / "page", lambda archive: archive.writestr("b/zeros", bytes(30_000_000)))
    refused(here, "b", source, match=r"b_v0\.1\.0\.zip: not unpacked, its \d+ bytes would become 30000000, expected")


def test_many_entries_that_share_the_room_of_one_are_not_unpacked(here: Path, tmp_path: Path) -> None:
    source = listed_zip(
        tmp_path / "page", lambda archive: [archive.writestr(f"b/{n}", bytes(500_000)) for n in range(60)]
    )
    refused(here, "b", source, match="would become 30000000")


def test_a_zip_that_unpacks_to_more_than_it_declares_is_not_unpacked(here: Path, tmp_path: Path) -> None:
    """The declared size, in both headers, is made a thousand times smaller than what the data unpacks to."""
    source = listed_zip(tmp_path / "page", lambda archive: archive.writestr("b/zeros", bytes(30_000_000)))
    file = tmp_path / "page/b_v0.1.0.zip"
    file.write_bytes(file.read_bytes().replace((30_000_000).to_bytes(4, "little"), (30_000).to_bytes(4, "little")))
    list_zip(tmp_path / "page")
    refused(here, "b", source, match="not unpacked, broken, or larger than it declares")


def test_a_zip_of_very_many_files_is_not_unpacked(here: Path, tmp_path: Path) -> None:
    source = listed_zip(tmp_path / "page", lambda archive: [archive.writestr(f"b/{n}", b"") for n in range(10_001)])
    refused(here, "b", source, match="it holds 10001 files, expected 10000 at most")


def test_a_file_larger_than_any_weights_is_not_fetched_to_its_end(
    page: Callable, serve: Callable, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big.pt").write_bytes(bytes(2_000_000))
    address = page({"b_v0.1.0": with_large(bytes(2_000_000), url=f"{serve(tmp_path)}/big.pt")})
    monkeypatch.setattr(unpacking, "LARGEST", 1_900_000)
    refused(here, "b", address, match=r"big\.pt: larger than 1900000 bytes")


@pytest.mark.parametrize("text", ["<!DOCTYPE html>\n<title>Sign in</title>", "", "[1, 2]", '{"b_v0.1.0": "x"}'])
def test_a_web_page_in_place_of_the_list_is_named_with_what_it_begins_with(
    serve: Callable, here: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "model_info.json").write_text(text)
    begins = re.escape(repr(text.split("\n")[0]))
    refused(
        here, "b", serve(tmp_path), match=f"no release page's list of bundles .*begins with {begins}; check SOURCE="
    )


def test_a_host_that_does_not_answer_is_named(here: Path) -> None:
    refused(here, "b", "http://127.0.0.1:9", match=r"http://127\.0\.0\.1:9/model_info\.json: cannot be read")


def test_a_file_that_is_no_list_is_named(here: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04")
    refused(here, "b", str(tmp_path / "weights.pt"), match=r"weights\.pt: no release page's list")


def test_a_bundle_that_is_not_listed_is_told_what_is(page: Callable, here: Path) -> None:
    refused(here, "c", page({"b_v0.1.0": PLAIN}), match=r"lists no c; there are: b_v0\.1\.0")


def test_a_page_that_is_not_there_is_one_line(serve: Callable, here: Path, tmp_path: Path) -> None:
    refused(here, "b", serve(tmp_path), match="404")


@pytest.mark.parametrize("source", ["", "release.page"])
def test_what_is_neither_address_nor_folder_is_one_line(here: Path, source: str) -> None:
    refused(here, "b", source, match=f"SOURCE={source}: no URL, and no such folder")


def test_a_folder_that_exists_stays_as_it_is(page: Callable, here: Path) -> None:
    (here / "b").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="b: exists; move it away"):
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
        ({"hash_val": "0" * 64}, "its sha256 is .*, the release page says 0000"),
        ({"hash_val": ""}, "has no SHA-256"),
        ({"hash_type": "md5"}, "has no SHA-256"),
        ({"path": "../../out.pt"}, "is no file in the bundle's folder"),
        ({"path": "/tmp/out.pt"}, "is no file in the bundle's folder"),
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


@pytest.mark.parametrize("name", ["", ".", "../b", "b/", "b_v0.1.0 "])
def test_what_is_no_name_of_a_bundle_is_refused(here: Path, page: Callable[..., str], name: str) -> None:
    refused(here, name, page({"b_v0.1.0": PLAIN}), match=f"BUNDLE={re.escape(name)}: expected the name of a bundle")
