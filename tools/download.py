"""Fetch a bundle from a release page, checked before it is unpacked. Behind `make download`."""

import json
import re
import stat
import sys
import tempfile
import zipfile
from pathlib import Path
from urllib.request import urlopen

from fire.decorators import SetParseFn

from common.command_line import run_command


@SetParseFn(str)
def download(bundle: str, source: str, *, version: str | None = None, folder: str = "downloads") -> None:
    """Fetch a bundle that a release page lists, and its large files; unpack it to FOLDER/BUNDLE, whole or not at all.

    The zip must have the checksum that the page's model_info.json says, and hold nothing outside of BUNDLE/.

    Args:
        bundle: its name.
        source: URL, or folder, of a release page or of its model_info.json.
        version: which of its versions; default the newest.
        folder: where BUNDLE/ is made.
    """
    try:
        print(fetch(str(bundle), str(source), version=version, folder=Path(str(folder))))
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        sys.exit(" ".join(str(error).split()))
    print(f"python -m pip install -r {folder}/{bundle}/requirements.txt")


def fetch(bundle: str, source: str, *, version: str | None, folder: Path) -> Path:
    """Do what :func:`download` says; the folder of the bundle.

    Raises:
        ValueError: if the page does not list the bundle with a checksum, the zip has another one, or holds what it
            must not.
        FileExistsError: if there is such a folder already.
        OSError: if the page cannot be read.
        zipfile.BadZipFile: if it is no zip.
    """
    from monai.apps.utils import download_url, extractall
    from monai.bundle import download_large_files

    target = (folder / bundle).absolute()
    if target.exists():
        raise FileExistsError(f"{target}: exists; move it away, or name another folder")
    name, entry = listing(bundle, source, version=version)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download_", dir=folder) as work:
        zipped = Path(work, "zip", f"{name}.zip")
        download_url(entry["source"], zipped, hash_val=entry["checksum"], hash_type="sha1", progress=_on_terminal())
        check_entries(zipped, bundle)
        extractall(zipped, work, has_base=True)
        unpacked = Path(work, bundle)
        if (unpacked / "large_files.yml").is_file():
            check_large_files(unpacked / "large_files.yml")
            download_large_files(str(unpacked))
        unpacked.rename(target)
    return target


def listing(bundle: str, source: str, *, version: str | None) -> tuple[str, dict[str, str]]:
    """Name (`BUNDLE_vVERSION`) and entry of a bundle in a release page's model_info.json.

    Args:
        bundle: its name.
        source: as for :func:`download`.
        version: which; None for the newest of those that are numbers alone.

    Raises:
        ValueError: if it is not listed, or without checksum or URL.
    """
    address = Path(source).resolve().as_uri() if source and Path(source).exists() else source
    address = address if address.endswith(".json") else f"{address.rstrip('/')}/model_info.json"
    if not address.startswith(("http://", "https://", "file://")):
        raise ValueError(f"SOURCE={source}: no URL, and no such folder")
    with urlopen(address) as response:
        listed = json.load(response)
    versions = [name.removeprefix(f"{bundle}_v") for name in listed if name.startswith(f"{bundle}_v")]
    numbers = [found for found in versions if re.fullmatch(r"\d+(\.\d+)*", found)]
    newest = max(numbers, key=lambda found: [int(n) for n in found.split(".")], default=None)
    chosen = newest if version is None else str(version)
    if chosen not in versions:
        asked = f"{bundle} {version}" if version is not None else bundle
        raise ValueError(f"{address}: lists no {asked}; there are: {', '.join(listed) or 'none'}")
    name = f"{bundle}_v{chosen}"
    entry = listed[name]
    if not re.fullmatch(r"[0-9a-f]{40}", str(entry.get("checksum"))) or not entry.get("source"):
        raise ValueError(f"{address}: {name} is listed without a SHA-1 checksum or without a source")
    return name, entry


def check_entries(path: Path, bundle: str) -> None:
    """Refuse a zip with anything outside of one folder, or that is no plain file; nothing is unpacked.

    Raises:
        ValueError: naming the entry.
    """
    from monai.apps.utils import safe_extract_member

    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{path.name}: not unpacked, {entry.filename} is a link or no plain file")
            try:
                safe_extract_member(entry, path.parent)
            except ValueError as error:
                raise ValueError(f"{path.name}: not unpacked, {error}") from None
            parts = Path(entry.filename).parts
            if parts[0] != bundle or ".." in parts:
                raise ValueError(f"{path.name}: not unpacked, {entry.filename} is not in {bundle}/")


def check_large_files(path: Path) -> None:
    """Refuse a large_files.yml with a file that has no SHA-256: MONAI would take it unchecked.

    Raises:
        ValueError: naming the file.
    """
    from monai.bundle import ConfigParser

    for entry in ConfigParser.load_config_file(path)["large_files"]:
        if entry.get("hash_type") != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", str(entry.get("hash_val"))):
            raise ValueError(f"large_files.yml: {entry.get('path')} has no SHA-256 to be checked against")


def _on_terminal() -> bool:
    return sys.stderr.isatty()


if __name__ == "__main__":
    run_command(download, name="tools.download")
