"""What configs name is found by that name."""

from __future__ import annotations

import importlib
import pkgutil

import common


def test_nothing_is_named_like_the_file_that_it_is_in() -> None:
    """From Python 3.12 on, `pydoc.locate`, by which MONAI finds a `_target_`, takes the file instead."""
    packages = [name for _, name, is_package in pkgutil.walk_packages(common.__path__, "common.") if is_package]
    assert "common.networks" in packages
    for package in map(importlib.import_module, packages):
        files = {module.name for module in pkgutil.iter_modules(package.__path__)}
        assert files & set(getattr(package, "__all__", ())) == set(), package.__name__
