"""The dependencies that pyproject.toml declares are those that the code has."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]


def test_common_imports_nothing_but_declared_dependencies() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    providers = packages_distributions()
    undeclared = set()
    for path in (REPOSITORY / "common").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            absolute = isinstance(node, ast.ImportFrom) and not node.level
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if absolute else []
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"common"}:
                provided_by = {top, *map(canonicalize_name, providers.get(top, []))}
                if not provided_by & set(declared):
                    undeclared.add(f"{path.name}: {top}")
    assert undeclared == set()
