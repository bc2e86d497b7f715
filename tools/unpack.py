"""Files from a release page: fetched and unpacked within stated limits, each checked before it has its place."""

import hashlib
import http.client
import lzma
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import urlopen

from tqdm import tqdm

TIMEOUT = 60  # seconds without a byte
LARGEST = 10_000_000_000  # bytes of a zip or of a large file
LARGEST_LIST = 10_000_000  # bytes of a model_info.json
MOST_FILES = 10_000  # in a zip
MOST_LARGE_FILES = 100
MOST_GROWTH = 10  # a zip may unpack to so many times its own size, and to a megabyte more

BROKEN = (EOFError, RuntimeError, lzma.LZMAError, zipfile.BadZipFile, zlib.error)


def read_address(address: str, *, most: int = LARGEST_LIST) -> bytes:
    """What is at an address.

    Raises:
        ValueError: naming the address, if it cannot be read or is larger than `most` bytes.
    """
    return b"".join(_chunks(address, most=most))


def fetch_file(address: str, path: Path, *, kind: str, checksum: str) -> None:
    """Download a file.

    Args:
        address: its URL.
        path: where to; the folder is made.
        kind: of the checksum, sha1 or sha256.
        checksum: in hexadecimal.

    Raises:
        ValueError: naming the address, if it cannot be read, is too large or has another checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.new(kind, usedforsecurity=False)
    progress = tqdm(unit="B", unit_scale=True, desc=path.name, disable=not sys.stderr.isatty())
    with path.open("wb") as file, progress:
        for chunk in _chunks(address, most=LARGEST):
            file.write(chunk)
            digest.update(chunk)
            progress.update(len(chunk))
    if digest.hexdigest() != checksum:
        raise ValueError(f"{address}: its {kind} is {digest.hexdigest()}, the release page says {checksum}")


def unpack(path: Path, bundle: str, folder: Path) -> None:
    """Unpack the zip of a bundle, which must hold plain files within one folder and no more than it says.

    Args:
        path: the zip.
        bundle: name of the folder in it.
        folder: where to make it; left half done if the zip is refused midway.

    Raises:
        ValueError: naming the zip, the entry and its fault.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name}: is not a zip file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check(entries, bundle, size=path.stat().st_size)
            for entry in entries:
                target = folder / entry.filename
                if entry.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                # zipfile gives no byte more than the entry's declared size, and then compares checksums.
                with archive.open(entry) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except ValueError as error:
        raise ValueError(f"{path.name}: not unpacked, {error}") from None
    except BROKEN as error:
        reason = f"broken, or larger than it declares ({type(error).__name__}: {error})"
        raise ValueError(f"{path.name}: not unpacked, {reason}") from None


def fetch_large_files(folder: Path) -> None:
    """Download what a bundle's large_files.yml lists, each file checked by its SHA-256.

    Raises:
        ValueError: naming the file, if it has no SHA-256, another one, or no place in the folder.
    """
    from monai.bundle import ConfigParser

    listing = folder / "large_files.yml"
    if not listing.is_file():
        return
    content = ConfigParser.load_config_file(listing)
    files = content.get("large_files") if isinstance(content, dict) else None
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise ValueError("large_files.yml: expected a list of path, url, hash_val and hash_type under large_files")
    if len(files) > MOST_LARGE_FILES:
        raise ValueError(f"large_files.yml: lists {len(files)} files, expected {MOST_LARGE_FILES} at most")
    for file in files:
        name, checksum = str(file.get("path")), str(file.get("hash_val"))
        if file.get("hash_type") != "sha256" or len(checksum) != 64:
            raise ValueError(f"large_files.yml: {name} has no SHA-256 to be checked against")
        target = (folder / name).resolve()
        if not target.is_relative_to(folder.resolve()) or target.is_dir():
            raise ValueError(f"large_files.yml: {name} is no file in the bundle's folder")
        fetch_file(str(file.get("url")), target, kind="sha256", checksum=checksum)


def _check(entries: list[zipfile.ZipInfo], bundle: str, *, size: int) -> None:
    """Raise ValueError for what must not be unpacked."""
    if len(entries) > MOST_FILES:
        raise ValueError(f"it holds {len(entries)} files, expected {MOST_FILES} at most")
    total, most = sum(entry.file_size for entry in entries), MOST_GROWTH * size + 1_000_000
    if total > most:
        raise ValueError(f"its {size} bytes would become {total}, expected {most} at most")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError("it holds two files of one name")
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if not parts or parts[0] != bundle or ".." in parts or "\\" in entry.filename or entry.filename == bundle:
            raise ValueError(f"{entry.filename} is not in {bundle}/")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{entry.filename} is a link or no plain file")


def _chunks(address: str, *, most: int) -> Iterator[bytes]:
    if not address.startswith(("http://", "https://", "file://")):
        raise ValueError(f"{address}: no address; expected https://..., http://... or file://...")
    try:
        with urlopen(address, timeout=TIMEOUT) as response:
            total = 0
            while chunk := response.read(1 << 20):
                total += len(chunk)
                if total > most:
                    raise ValueError(f"{address}: larger than {most} bytes, which nothing there should be")
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
        raise ValueError(f"{address}: cannot be read ({reason})") from None
