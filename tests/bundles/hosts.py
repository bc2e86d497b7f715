"""Bundles as other programs run them: in their own process, with parts of the config replaced."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

ANYWHERE = {"device": "cpu", "num_workers": 0}


def workflow(bundle: Path, *names: str, kind: str | None = None, **settings: Any) -> ConfigWorkflow:
    """MONAI's workflow of a bundle's config files, not initialized; paths among the settings become text.

    Args:
        bundle: its folder.
        names: config files in ``configs/``.
        kind: ``"train"``, ``"infer"``; None for neither.
        settings: what replaces values of the config, by id.
    """
    return ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in names],
        workflow_type=kind,
        logging_file=False,
        **ANYWHERE | {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()},
    )


@contextmanager
def restored_path() -> Iterator[None]:
    """Configs put the bundle's folder on Python's path: taken off again."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def run(flow: ConfigWorkflow) -> None:
    """Initialize, run and finalize."""
    with restored_path():
        flow.initialize()
        flow.run()
        flow.finalize()


def trainings(bundle: Path) -> list[tuple[str, str]]:
    """The bundle's trainings, each with its overlay for phantoms: those of earlier stages first."""
    stages = sorted(path.stem.removeprefix("train_") for path in bundle.glob("configs/train_*.json"))
    return [*((f"train_{stage}.json", f"sample_{stage}.json") for stage in stages), ("train.json", "sample.json")]


def folders(parent: Path, trained: Path | None = None, *, without: Sequence[str] = ()) -> dict[str, Path]:
    """``ckpt_dir``, ``cache_dir`` and ``output_dir`` in a folder.

    Args:
        parent: the folder.
        trained: of the fixture ``trained``: its weights and plans are copied, and its cache is used.
        without: patterns of the files that are not copied.
    """
    if trained is not None:
        shutil.copytree(trained / "models", parent / "models", ignore=shutil.ignore_patterns(*without))
    return {
        "ckpt_dir": parent / "models",
        "cache_dir": (trained or parent) / "cache",
        "output_dir": parent / "output",
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Path within the folder -> content of every file; TensorBoard's, which have a time in their names, are empty."""
    found = {os.path.relpath(path, folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name.split(".tfevents")[0]: b"" if "tfevents" in name else p.read_bytes() for name, p in found.items()}
