"""MONAI's own checks of one bundle, a line for each: ok, or what is wrong. Behind `make verify`.

Everything is checked on a temporary copy and on phantoms, on the CPU, without network: the bundle's folder is only
read. Where no weights are shipped, the exports take random ones, and their lines say so. The work is done by
`monai.bundle`'s own functions; what is ours only compares.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monai.bundle import verify_metadata

from common.command_line import run_command
from common.files import read_json
from tools import verify_configs, verify_networks
from tools.pipeline import bundle_configs

SCHEMA = Path(__file__).resolve().parent / "schema/meta_schema_20240725.json"
REQUIRED = (
    "LICENSE",
    "configs/metadata.json",
    "configs/train.json",
    "configs/inference.json",
    "docs/README.md",
    "docs/data_license.txt",
)
NOT_COPIED = ("output", "eval", "cache", "__pycache__", "*_epoch=*.pt")


@dataclass(frozen=True)
class Result:
    """What came out of one check.

    Args:
        name: what was checked.
        note: on what, or how close.
        fault: what is wrong, in one line; None if nothing is.
    """

    name: str
    note: str = ""
    fault: str | None = None

    def __str__(self) -> str:
        return f"{'FAIL' if self.fault else 'ok':<5}{self.name:<52} {self.fault or self.note}".rstrip()


def verify(folder: Path, *, schema: Path = SCHEMA) -> Iterator[Result]:
    """Check a bundle.

    Args:
        folder: the bundle's folder; nothing is written there.
        schema: JSON schema of the metadata.

    Yields:
        One result per check, as soon as it is there.
    """
    with tempfile.TemporaryDirectory(prefix="verify_") as work:
        copy = Path(work) / folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        yield outcome("structure", lambda: structure(copy))
        yield outcome("version in changelog", lambda: changelog(copy))
        yield outcome("metadata against the schema", lambda: metadata(copy, schema=schema))
        # Networks first: they leave weights, without which a second stage cannot be made.
        for network in _listed(verify_networks.described, copy):
            if isinstance(network, Result):
                yield network
                continue
            for what, check in verify_networks.CHECKS.items():
                yield outcome(f"{what}: {network.net_id}", functools.partial(check, copy, network))
        for combination in _listed(verify_configs.combinations, copy / "configs"):
            if isinstance(combination, Result):
                yield combination
                continue
            check = functools.partial(verify_configs.check, copy, combination, work=Path(work))
            yield outcome(f"properties of {' + '.join(combination.files)}", check)


def outcome(name: str, check: Callable[[], str]) -> Result:
    """Run one check, without a word of its own on the terminal.

    Args:
        name: what is checked.
        check: returns a note, or raises what is wrong.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return Result(name, note=check())
    except (Exception, SystemExit) as error:
        return Result(name, fault=_one_line(error))
    finally:
        logging.disable(disabled)


def structure(bundle: Path) -> str:
    """The files that the model zoo asks for.

    Returns:
        Whether weights are shipped.

    Raises:
        FileNotFoundError: naming all that are missing.
    """
    missing = [name for name in REQUIRED if not (bundle / name).is_file()]
    if missing:
        raise FileNotFoundError(f"missing: {', '.join(missing)}")
    return "with models/model.pt" if (bundle / "models/model.pt").is_file() else "no models/model.pt is shipped"


def changelog(bundle: Path) -> str:
    """The metadata's version is of the form 1.2.3 and has an entry in its changelog.

    Returns:
        The version.

    Raises:
        ValueError: if not.
    """
    content = read_json(bundle / "configs/metadata.json")
    version = content["version"]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"configs/metadata.json: version must be like 1.2.3, got {version!r}")
    if version not in content["changelog"]:
        known = ", ".join(content["changelog"])
        raise ValueError(f"configs/metadata.json: version {version} is not in its changelog (which has {known})")
    return version


def metadata(bundle: Path, *, schema: Path) -> str:
    """`monai.bundle verify_metadata` against a schema on disk.

    Args:
        bundle: its folder.
        schema: a JSON schema; the file name is that of the URL in the metadata.

    Returns:
        The schema's name.

    Raises:
        FileNotFoundError: if there is no such schema: MONAI would try to download it.
        ValueError: if the metadata names another schema or does not follow it.
    """
    if not schema.is_file():
        raise FileNotFoundError(f"{schema}: no such schema file")
    file = bundle / "configs/metadata.json"
    named = read_json(file).get("schema", "").rsplit("/", 1)[-1]
    if named and named != schema.name:
        raise ValueError(f"configs/metadata.json: its schema is {named}, expected the newest, {schema.name}")
    verify_metadata(meta_file=str(file), filepath=str(schema))
    return schema.name


def _listed(find: Callable[[Path], list], folder: Path) -> list:
    """What is to be checked; where that cannot be told, a failed result that says why."""
    try:
        return find(folder)
    except Exception as error:
        return [Result(find.__doc__.splitlines()[0].rstrip("."), fault=_one_line(error))]


def _one_line(error: BaseException) -> str:
    """The reason behind an error: MONAI wraps the real one, and jsonschema explains it over many lines."""
    while error.__cause__ is not None and not isinstance(error, ValueError | FileNotFoundError):
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    named = isinstance(error, ValueError | FileNotFoundError) and lines[0]
    return lines[0] if named else f"{type(error).__name__}: {lines[0]}"


def main(bundle: str, *, schema: Path = SCHEMA) -> None:
    """Print one line per check; the exit code is 1 if any failed.

    Args:
        bundle: name of a folder in bundles/, or a path.
        schema: another schema file for the metadata, such as the published one.
    """
    failed = 0
    path = Path(bundle).absolute()
    folder = path if "/" in bundle and (path / "configs/train.json").is_file() else bundle_configs(bundle).parent
    for result in verify(folder, schema=schema.absolute()):
        print(result, flush=True)
        failed += result.fault is not None
    sys.exit(f"{failed} of the checks failed" if failed else 0)


if __name__ == "__main__":
    run_command(main, name="tools.verify")
