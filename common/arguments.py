"""What was typed after ``monai.bundle run``: MONAI adds ids that no config has, and takes words that belong nowhere."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import monai.bundle
from fire.parser import DefaultParseValue
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from common.files import read_json

__all__ = ["alike", "check_arguments", "check_words", "knows"]


def knows(config: Mapping[str, Any], key: str) -> bool:
    """Whether a config has the id that an override names: `epochs`, `train#trainer#max_epochs`, `run#0`.

    The last part may be new in a dict that makes an object (`network_def#norm`): it is that object's argument.
    """
    if key in config:
        return True
    node: object = config
    *parents, last = re.split(r"#|::", key)
    for part in parents:
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return False
    if isinstance(node, list):
        return last.isdigit() and int(last) < len(node)
    return isinstance(node, Mapping) and (last in node or "_target_" in node)


def alike(unknown: Iterable[str], ids: Iterable[str]) -> str:
    """The ids that wrong ones may be meant as, as a question; empty where none is like one."""
    known = sorted(ids)
    meant = [f"--{name}" for key in sorted(unknown) for name in difflib.get_close_matches(key, known, n=1)]
    return f"; did you mean {', '.join(meant)}?" if meant else ""


def check_words(words: Sequence[str]) -> list[str]:
    """The names of the options among the words of a command line.

    Raises:
        ValueError: for one that is given twice, and for a lone dash or two.
    """
    names = [match[1].replace("-", "_") for word in words if (match := re.match(r"--?([^\W\d][^=]*)", word))]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"--{twice[0]}: given twice (by make's variables and ARGS= together?); say it once")
    if stray := [word for word in words if word in ("-", "--")]:
        raise ValueError(f"{stray[0]}: belongs to no argument; write --name value")
    return names


def check_arguments(words: Sequence[str]) -> None:
    """Refuse what MONAI would pass over without a word in a ``monai.bundle run``.

    Args:
        words: of the command line, from ``run`` on; other commands are left alone.

    Raises:
        ValueError: for a word that belongs to no option, an option given twice, and an id that no config has.
    """
    if list(words[:1]) != ["run"]:
        return
    names = check_words(words)
    typed: dict[str, str] = {}
    before = ""
    free = []
    for word in words[1:]:
        option = re.match(r"--?([^\W\d][^=]*|\+[^=]*)(=?)(.*)", word, re.DOTALL)
        if option is not None:
            typed[option[1].replace("-", "_")] = option[3]
        elif before:
            typed[before] = word
        else:
            free.append(word)
        before = option[1].replace("-", "_") if option is not None and not option[2] else ""
    if len(free) > 1 or (free and "run_id" in typed):
        raise ValueError(f"{free[-1]}: belongs to no argument; write --name value, with dashes")
    files = DefaultParseValue(typed.get("config_file", ""))
    files = list(files) if isinstance(files, list | tuple) else [files]
    if not all(str(file).endswith(".json") for file in files):
        return
    configs = [read_json(str(file)) for file in files]
    takers = (monai.bundle.run, monai.bundle.create_workflow, monai.bundle.ConfigWorkflow)
    own = {name for taker in takers for name in inspect.signature(taker).parameters}
    own |= DEFAULT_MLFLOW_SETTINGS["configs"].keys() if "tracking" in typed else set()
    unknown = [key for key in names if key not in own and not key.startswith("_meta_")]
    unknown = [key for key in unknown if not any(knows(config, key) for config in configs)]
    if unknown:
        listed = ", ".join(f"--{key}" for key in unknown)
        ids = {key for config in configs for key in config}
        raise ValueError(f"{listed}: no such id in {', '.join(files)}{alike(unknown, ids)}")
