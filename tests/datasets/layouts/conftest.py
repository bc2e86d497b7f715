"""Folders of empty files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write empty files of these names, and ``dataset.json`` from keyword arguments; return the folder."""

    def _write(*names: str, **listing: object) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        if listing:
            (tmp_path / "dataset.json").write_text(json.dumps(listing))
        return tmp_path

    return _write
