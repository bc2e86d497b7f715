"""Keep the parts of the READMEs that repeat configs and metadata true to them: behind `make docs`.

The results of the benchmarks are the tables that they wrote to benchmarks/results/.

Such a part stands between `<!-- begin generated: NAME -->` and `<!-- end generated -->`. Everything else is written by
hand, measured results too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from common.command_line import run_command
from tools.docs_parts import PARTS, bundle_table

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- begin generated: (.+?) -->\n)(.*?)(<!-- end generated -->)", re.DOTALL)

Makers = dict[str, Callable[[str], str]]


def docs(check: bool = False) -> None:
    """Regenerate the generated parts of README.md and of every bundle's docs/README.md.

    Args:
        check: write nothing; end with exit code 1, naming them, if parts are not what `make docs` would write.
    """
    changed, faults = [], []
    for file, makers in readmes(ROOT).items():
        try:
            text = filled(file, makers)
        except (ValueError, FileNotFoundError) as error:
            faults.append(str(error))
            continue
        if file.read_text() != text:
            changed.append(str(file.relative_to(ROOT)))
            if not check:
                file.write_text(text)
    if check and changed:
        faults.append(f"{', '.join(changed)}: not what the configs and metadata say; `make docs` mends it")
    elif changed:
        print(f"Regenerated: {', '.join(changed)}")
    if faults:
        sys.exit("\n".join(faults))


def readmes(root: Path) -> dict[Path, Makers]:
    """Every README with generated parts: for each part's name what makes it anew from what stands there.

    Args:
        root: folder with README.md and bundles/.
    """
    bundles = sorted(path.parents[1] for path in root.glob("bundles/*/configs/train.json"))
    measured = root / "benchmarks/results"
    found: dict[Path, Makers] = {
        root / "README.md": {
            "bundles": lambda old: bundle_table(bundles, old),
            "speed": lambda _: (measured / "speed_summary.md").read_text(),
            "quality": lambda _: (measured / "quality/quality.md").read_text(),
        }
    }
    for bundle in bundles:
        makers = {name: lambda _, make=make, bundle=bundle: make(bundle) for name, make in PARTS.items()}
        found[bundle / "docs/README.md"] = makers
    return found


def filled(file: Path, makers: Makers) -> str:
    """A README's text with its parts made anew.

    Raises:
        ValueError: if it lacks a part, has it twice, or has one of an unknown name; if a config does not say what it
            is for.
        FileNotFoundError: if there is no such file.
    """
    text = file.read_text()
    found = [match[2] for match in BLOCK.finditer(text)]
    for name in dict.fromkeys([*found, *makers]):
        if name not in makers:
            raise ValueError(f"{file}: no part is called {name!r}; there are: {', '.join(makers)}")
        if found.count(name) != 1:
            raise ValueError(
                f"{file}: the part {name!r} is there {found.count(name)} times, expected once: put "
                f"<!-- begin generated: {name} --> and <!-- end generated --> on lines of their own, then `make docs`"
            )
    return BLOCK.sub(lambda match: f"{match[1]}\n{makers[match[2]](match[3]).strip()}\n\n{match[4]}", text)


if __name__ == "__main__":
    run_command(docs, name="tools.docs")
