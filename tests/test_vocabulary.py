"""One word, one meaning: identifiers, config ids and file names keep to the vocabulary (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [path for folder in ("common", "tools", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
CONFIGS = sorted(ROOT.glob("bundles/*/configs/**/*.json"))

# A word that is not ours -> the word to take instead, and the identifiers of others in which it may stand.
RESERVED = {
    "fit": ("plan", {"does_fit"}),
    "fits": ("plan", {"fits"}),
    "fitted": ("planned", set()),
    "share": ("shard (of cases) or fraction", set()),
    "shares": ("shards (of cases) or fractions", set()),
    "frame": ("grid, box, or shape", {"FrameType", "frame", "tb_frame"}),
    "overlay": ("picture, unless it is a config", {"overlay_names", "overlay", "NO_OVERLAY"}),
    "windows": ("boxes, patches, or roi", set()),
    "surviving": ("fault-tolerant", set()),
    "buffer": ("queue (of patches)", {"buffer", "register_buffer", "getbuffer", "sized_buffer", "named_buffers"}),
    "decided": ("planned", set()),
}
BRITISH = re.compile(
    r"(normal|initial|optim|discret|organ|recogn|summar|maxim|minim|serial|special|general|standard|regular|penal|"
    r"parallel|vector|visual|equal|synchron|memor|capital|local|quant|random|final|character|binar|factor|harmon|"
    r"stabil|symmetr)is(e|ed|es|er|ing|ation)s?|\w*(centre|centring|tumour|neighbour|colour|labell|modell|millimetre|"
    r"behaviour|oedema|grey|licence|artefact)\w*|analys(e|ed|ing)"
)
THEIRS = {"licence"}  # a key of the Decathlon's dataset.json


def words(identifier: str) -> list[str]:
    """``"RandSpatialCropd"`` or ``"rand_spatial"`` in words, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", identifier).lower().split()


def fault(identifier: str) -> str | None:
    """What is wrong with an identifier, or None."""
    for word in words(identifier):
        if BRITISH.fullmatch(word) and word not in THEIRS:
            return f"{identifier}: {word} is not spelled as in MONAI"
        if word in RESERVED and identifier not in RESERVED[word][1]:
            return f"{identifier}: say {RESERVED[word][0]} instead of {word}"
    return None


def identifiers(tree: ast.AST) -> Iterator[str]:
    """What a file names itself: classes, functions, arguments, variables, attributes, keywords of calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def config_ids(config: object, top: bool = True) -> Iterator[str]:
    """The ids of a config, and its components' arguments."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from (part for part in key.lstrip("+").split("#") if not part.startswith("_"))
            yield from config_ids(value, top=False)
    elif isinstance(config, list):
        for value in config:
            yield from config_ids(value, top=False)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_keep_to_the_vocabulary(path: Path) -> None:
    named = {path.stem, *identifiers(ast.parse(path.read_text(encoding="utf-8")))}
    assert [text for text in map(fault, sorted(named)) if text] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "bundles")))
def test_ids_of_configs_keep_to_the_vocabulary(path: Path) -> None:
    assert [text for text in map(fault, sorted(set(config_ids(json.loads(path.read_text()))))) if text] == []


@pytest.mark.parametrize("identifier", ["normalise", "TumourMask", "fit_once", "validationShare", "neighbours"])
def test_a_word_against_the_vocabulary_is_found(identifier: str) -> None:
    assert fault(identifier)


@pytest.mark.parametrize("identifier", ["normalize", "TumorMask", "plan_once", "validation_shard", "emphasis", "rise"])
def test_other_words_are_left_alone(identifier: str) -> None:
    assert fault(identifier) is None
