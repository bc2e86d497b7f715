"""Fetch a bundle from a release page, checked before it is unpacked. Behind `make download`."""

import json
import os
import re
import tempfile
from pathlib import Path

from common.command_line import run_command
from tools.unpack import fetch_file, fetch_large_files, read_address, unpack


def download(bundle: str, source: str, *, version: str | None = None, folder: Path = Path("downloads")) -> None:
    """Fetch a bundle that a release page lists, and its large files; unpack it to FOLDER/BUNDLE, whole or not at all.

    The zip must have the checksum that the page's model_info.json says, hold nothing outside of BUNDLE/, and unpack to
    no more than tools/unpack.py allows.

    Args:
        bundle: its name.
        source: URL, or folder, of a release page or of its model_info.json.
        version: which of its versions; default the newest.
        folder: where BUNDLE/ is made.
    """
    print(fetch(str(bundle), str(source), version=version, folder=Path(folder)))
    print(f"python -m pip install -r {folder}/{bundle}/requirements.txt")


def fetch(bundle: str, source: str, *, version: str | None, folder: Path) -> Path:
    """Do what :func:`download` says; the folder of the bundle.

    Raises:
        ValueError: if the page cannot be read, does not list the bundle with a checksum, or what it lists is another
            file, too large, or holds what it must not.
        FileExistsError: if there is such a folder already.
    """
    if not re.fullmatch(r"\w+", bundle):
        raise ValueError(f"BUNDLE={bundle}: expected the name of a bundle, such as vnet_left_atrium")
    target = (folder / bundle).absolute()
    if target.exists():
        raise FileExistsError(f"{target}: exists; move it away, or name another folder")
    name, entry = listing(bundle, source, version=version)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download_", dir=folder) as work:
        zipped = Path(work, "zip", f"{name}.zip")
        fetch_file(entry["source"], zipped, kind="sha1", checksum=entry["checksum"])
        unpack(zipped, bundle, Path(work))
        fetch_large_files(Path(work, bundle))
        Path(work, bundle).rename(target)
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
    local = Path(os.path.expanduser(source)).resolve() if source and "://" not in source else None
    if local is not None and local.exists():
        address = (local if local.is_file() else local / "model_info.json").as_uri()
    else:
        address = source if source.endswith(".json") else f"{source.rstrip('/')}/model_info.json"
    if not address.startswith(("http://", "https://", "file://")):
        raise ValueError(f"SOURCE={source}: no URL, and no such folder")
    content = read_address(address)
    try:
        listed = json.loads(content)
    except ValueError:
        listed = None
    if not isinstance(listed, dict) or not all(isinstance(entry, dict) for entry in listed.values()):
        begins = content[:40].decode(errors="replace").split("\n")[0]
        raise ValueError(
            f"{address}: no release page's list of bundles (JSON), it begins with {begins!r}; check SOURCE="
        )
    versions = [name.removeprefix(f"{bundle}_v") for name in listed if name.startswith(f"{bundle}_v")]
    numbers = [found for found in versions if re.fullmatch(r"\d+(\.\d+)*", found)]
    newest = max(numbers, key=lambda found: [int(n) for n in found.split(".")], default=None)
    chosen = newest if version is None else str(version)
    if chosen not in versions:
        asked = f"{bundle} {version}" if version is not None else bundle
        raise ValueError(f"{address}: lists no {asked}; there are: {', '.join(listed) or 'none'}")
    name = f"{bundle}_v{chosen}"
    entry = listed[name]
    if not re.fullmatch(r"[0-9a-f]{40}", str(entry.get("checksum"))) or not isinstance(entry.get("source"), str):
        raise ValueError(f"{address}: {name} is listed without a SHA-1 checksum or without a source")
    return name, entry


if __name__ == "__main__":
    run_command(download, name="tools.download")
