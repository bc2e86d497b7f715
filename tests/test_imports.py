"""Imports point one way: bundles -> common -> libraries, and in ``common`` as a table says; in functions too."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
OURS = ("common", "tools", "benchmarks", "bundles", "tests")

BASE = ("files", "arguments", "classes", "command_line", "traces", "costs", "knobs")
MAY_IMPORT = {  # each only what stands above it
    "files": (),
    "arguments": ("files",),
    "command_line": ("arguments", "files"),
    "traces": ("command_line",),
    "classes": (),
    "costs": (),
    "knobs": (),
    "launch": ("command_line",),
    "kernels": (),
    "networks": ("kernels",),
    "losses": ("classes",),
    "optimizers": (),
    "transforms": BASE,
    "metrics": ("transforms",),
    "viewing": (),
    "datasets": (*BASE, "transforms", "viewing"),
    "checkpoints": (*BASE, "datasets"),
    "inferers": (*BASE, "kernels", "networks", "transforms", "checkpoints"),
    "handlers": (*BASE, "losses", "metrics", "transforms", "viewing", "datasets", "checkpoints"),
    "engines": (*BASE, "losses", "datasets", "checkpoints", "inferers", "handlers"),
    "phantoms": (*BASE, "datasets"),
}


class Import(NamedTuple):
    """One name that a module imports: ``from <module> import <name>``; of ``import <module>`` the name is None."""

    line: int
    module: str
    name: str | None
    bound: str


def imports_of(source: str) -> list[Import]:
    """Every import of ours in a module: at the top, in functions, and under ``if TYPE_CHECKING``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(node.lineno, a.name, None, a.asname or a.name.split(".")[0]) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            found += [Import(node.lineno, node.module, a.name, a.asname or a.name) for a in node.names]
    return [one for one in found if one.module.split(".")[0] in OURS]


def sources(*folders: str) -> dict[str, str]:
    """Module -> its text; a package is its ``__init__``."""
    files = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    parts = [path.relative_to(REPOSITORY).with_suffix("").parts for path in files]
    names = [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]
    return dict(zip(names, (path.read_text() for path in files), strict=True))


COMMON = sources("common")
EVERYTHING = COMMON | sources("tools", "benchmarks")


def target(one: Import) -> str:
    """The module that an import runs; a name of a package may be a module of its own."""
    inner = f"{one.module}.{one.name}"
    return inner if inner in EVERYTHING else one.module


def offenders(importing: str, *forbidden: str) -> list[str]:
    """Imports of the forbidden packages by modules of another, as ``module:line: what``."""
    return [
        f"{module}:{one.line}: {target(one)}"
        for module, text in EVERYTHING.items()
        if module.split(".")[0] == importing
        for one in imports_of(text)
        if target(one).split(".")[0] in forbidden
    ]


def test_imports_in_functions_and_for_types_are_seen():
    text = "if TYPE_CHECKING:\n    import tools.pack\ndef late():\n    from common.files import whole_file\n"
    assert [(one.line, one.module) for one in imports_of(text)] == [(2, "tools.pack"), (4, "common.files")]


def test_common_imports_no_tools_benchmarks_bundles_or_tests():
    assert offenders("common", "tools", "benchmarks", "bundles", "tests") == []


def test_every_package_of_common_is_in_the_table_below_all_that_it_may_import():
    assert {module.split(".")[1] for module in COMMON if "." in module} == set(MAY_IMPORT)
    order = list(MAY_IMPORT)
    assert all(order.index(other) < order.index(name) for name, others in MAY_IMPORT.items() for other in others)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_of_common_import_what_the_table_says(package: str):
    wrong = []
    for module, text in COMMON.items():
        if module.split(".")[1:2] == [package]:
            reached = [(one.line, target(one)) for one in imports_of(text)]
            allowed = {f"common.{name}" for name in (package, *MAY_IMPORT[package])} | {"common"}
            wrong += [f"{module}:{line}: {to}" for line, to in reached if ".".join(to.split(".")[:2]) not in allowed]
    assert wrong == []


def test_modules_of_common_import_each_other_in_no_circle():
    graph = {module: {target(one) for one in imports_of(text)} for module, text in COMMON.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_names_with_an_underscore_stay_in_their_module():
    private = []
    for module, text in EVERYTHING.items():
        imported = imports_of(text)
        private += [f"{module}:{one.line}: {one.name}" for one in imported if (one.name or "").startswith("_")]
        bound = {one.bound for one in imported}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
                root = node.value
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(root, ast.Name) and root.id in bound:
                    private.append(f"{module}:{node.lineno}: {ast.unparse(node)}")
    assert private == []


def test_tools_and_benchmarks_do_not_import_each_other() -> None:
    assert offenders("tools", "benchmarks") + offenders("benchmarks", "tools") == []
