"""Hosts insert handlers: wherever in a list they stand, everything that a bundle does stays the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from tests.bundles.hosts import contents, folders, run, trainings, workflow
from tests.bundles.test_resume import load, same

REPOSITORY = Path(__file__).parents[2]
IDLE = {"_target_": "types.SimpleNamespace", "attach": "$lambda engine: None"}
BY_INDEX = re.compile(r"handlers[\"']?\]?(?:#|::|\[)-?\d")
RECORDS = ("failures.json", "metrics.csv", "metrics.json", ".nii.gz", ".nrrd")


def surround(flow: ConfigWorkflow) -> list[str]:
    """Put a handler that does nothing at both ends of every list of handlers; where these lists are."""
    config = flow.parser.config
    places = {"": config, **{part: config[part] for part in ("train", "validate") if part in config}}
    found = {name: place for name, place in places.items() if "handlers" in place}
    for place in found.values():
        place["handlers"] = [dict(IDLE), *place["handlers"], dict(IDLE)]
    return list(found)


@pytest.mark.slow_but_for("vox2vox")
def test_a_resumed_training_of_any_stage_ends_the_same_wherever_its_handlers_stand(
    bundle: Path, trained: Path, sample_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "common.handlers.checkpoint")
    for stage, names in enumerate(trainings(bundle)):
        ends = []
        for kind in ("plain", "surrounded"):
            places = folders(tmp_path / f"{kind}_{stage}", trained)
            settings = {"dataset_dir": sample_data, "epochs": 2, "val_interval": 9, "resume": True}
            flow = workflow(bundle, *names, kind="train", **settings, **places)
            if kind == "surrounded":
                assert surround(flow) == ["train", "validate"]
            caplog.clear()
            run(flow)
            assert "epoch=1.pt: 1 epochs done" in caplog.text, names
            assert flow.parser.get_parsed_content("validate#evaluator").state.epoch == 2, names
            (saved,) = places["ckpt_dir"].glob("*_epoch=2.pt")
            ends.append((saved.name, load(saved), set(contents(places["output_dir"]))))
        (name, plain, reports), (other_name, surrounded, other_reports) = ends
        assert other_name == name and other_reports == reports
        assert same(plain, surrounded), names


@pytest.mark.slow_but_for("vox2vox")
@pytest.mark.parametrize(
    ("names", "data", "lists"),
    [
        (("train.json", "sample.json", "evaluate.json"), "validate#dataset#data", ["train", "validate"]),
        (("inference.json", "sample.json"), "dataset#data", [""]),
    ],
    ids=["evaluation", "inference"],
)
def test_what_is_restored_and_reported_does_not_depend_on_where_handlers_stand(
    bundle: Path, trained: Path, sample_data: Path, tmp_path: Path, names: tuple[str, ...], data: str, lists: list[str]
) -> None:
    cases = {"dataset#data": "$@cases[:1]", "validate#dataset#data": "$@selected[:1]"}
    kind = "infer" if "inference.json" in names else "train"
    ends = []
    for variant in ("plain", "surrounded"):
        places = {"ckpt_dir": trained / "models", "cache_dir": trained / "cache", "output_dir": tmp_path / variant}
        if kind == "infer":
            del places["cache_dir"]
        flow = workflow(bundle, *names, kind=kind, dataset_dir=sample_data, **places, **{data: cases[data]})
        if variant == "surrounded":
            assert surround(flow) == lists
        run(flow)
        weights = flow.parser.get_parsed_content("network").state_dict()
        assert weights.keys() == (stored := load(trained / "models/model.pt")).keys()
        assert all(torch.equal(value, stored[key]) for key, value in weights.items())
        ends.append(contents(tmp_path / variant))
    plain, surrounded = ends
    assert surrounded.keys() == plain.keys()
    records = {name: content for name, content in plain.items() if name.endswith(RECORDS)}
    assert len(records) >= 2
    assert {name: surrounded[name] for name in records} == records


def test_no_config_addresses_a_handler_by_its_place() -> None:
    configs = sorted(REPOSITORY.glob("bundles/*/configs/**/*.json"))
    assert len(configs) > 50
    assert [str(path) for path in configs if BY_INDEX.search(path.read_text())] == []


def test_no_code_addresses_a_handler_by_its_place() -> None:
    sources = sorted(path for folder in ("common", "tools") for path in (REPOSITORY / folder).rglob("*.py"))
    assert len(sources) > 100
    assert [f"{path}:{line}" for path in sources for line in by_place(path.read_text())] == []


@pytest.mark.parametrize(
    "line",
    [
        "config['train#handlers'][0]",
        "engine.val_handlers[-1]",
        "handlers[1:]",
        "parser['train#handlers#2#resume'] = True",
        "set('validate::handlers::0', 1)",
    ],
)
def test_a_place_in_a_list_of_handlers_is_found(line: str) -> None:
    assert list(by_place(line)) == [1]


@pytest.mark.parametrize("line", ["engine._event_handlers[event]", "config['handlers']", "handlers[name]", "x[0]"])
def test_a_handler_by_its_name_is_no_place(line: str) -> None:
    assert list(by_place(line)) == []


def by_place(source: str) -> Iterator[int]:
    """Lines with an index or a slice of a list of handlers, or an id with a number in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and BY_INDEX.search(node.value):
            yield node.lineno
        if not isinstance(node, ast.Subscript) or "handlers" not in name_of(node.value).rpartition("#")[2]:
            continue
        if isinstance(node.slice, ast.Slice) or is_number(node.slice):
            yield node.lineno


def name_of(node: ast.AST) -> str:
    """The last part of what an expression is called: ``handlers`` of ``config["train"]["handlers"]``."""
    name: Any = getattr(node, "attr", getattr(node, "id", ""))
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        name = node.slice.value
    return name if isinstance(name, str) else ""


def is_number(node: ast.AST) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int)
