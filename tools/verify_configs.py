"""`check_properties` of every config of a bundle: each overlay merged onto its base, on phantoms."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
from monai.bundle import ConfigWorkflow

from common.arguments import knows
from common.files import read_json
from common.phantoms import WRITERS

CASES = 6
MULTI_GPU = "multi_gpu_"


@dataclass(frozen=True)
class Combination:
    """Config files that are merged in this order.

    Args:
        kind: MONAI's workflow type, ``train`` or ``infer``.
        files: names in configs/.
    """

    kind: str
    files: tuple[str, ...]


def combinations(configs: Path) -> list[Combination]:
    """The configs of a bundle and what each is merged onto.

    ``train.json``, ``train_<stage>.json`` and ``inference.json`` stand alone. ``multi_gpu_<base>.json`` goes onto its
    base. Any other overlay goes onto the training of the stage that its name has in it, or else onto the first of
    training, evaluation and inference that has all its ids. One in experiments/ goes onto paper.json before.
    """
    stages = sorted(path.stem.removeprefix("train_") for path in configs.glob("train_*.json"))
    bases = {"train": ("train.json",), "inference": ("inference.json",)}
    bases |= {f"train_{stage}": (f"train_{stage}.json",) for stage in stages}
    if (configs / "evaluate.json").is_file():
        bases["evaluate"] = ("train.json", "evaluate.json")
    found = [Combination("infer" if name == "inference" else "train", files) for name, files in bases.items()]
    alone = {"metadata.json", "plan.json", "evaluate.json", *(files[0] for files in bases.values())}
    for path in sorted(configs.rglob("*.json")):
        name = str(path.relative_to(configs))
        if name in alone:
            continue
        if path.stem.startswith(MULTI_GPU):
            base = path.stem.removeprefix(MULTI_GPU)
            if base not in bases:
                raise ValueError(f"configs/{name}: there is no {base}.json to merge it onto")
        else:
            base = _base(configs, path, stages=stages, bases=bases)
        files = [*bases[base]]
        paper = base.replace("train", "paper") + ".json"
        if path.parent.name == "experiments" and (configs / paper).is_file():
            files.append(paper)
        found.append(Combination("infer" if base == "inference" else "train", (*files, name)))
    return found


def check(bundle: Path, combination: Combination, *, work: Path) -> str:
    """`ConfigWorkflow.check_properties`: everything that consumers of bundles ask for is there and can be made.

    Args:
        bundle: a copy of the bundle: where it has no planned numbers, those of train.json on the phantoms are written.
        combination: the configs.
        work: folder for phantoms and whatever the configs write.

    Returns:
        What the phantoms are like, where it is not the config's own layout.

    Raises:
        ValueError: naming the missing properties.
        Exception: whatever a config raises as its parts are made.
    """
    contents = [read_json(bundle / "configs" / name) for name in combination.files]
    named = [content["layout"] for content in contents if content.get("layout", "auto") != "auto"]
    layouts = [read_json(bundle / "configs/plan.json")["layout"], *named]
    layout = [name for name in layouts if name in WRITERS][-1]
    data = work / "phantoms" / layout
    WRITERS[layout](str(data), CASES, 0)

    planned = bundle / "models"
    own = work / "models" / "_".join(name.replace("/", "_") for name in combination.files)  # of each combination
    training = combination.kind == "train" and "evaluate.json" not in combination.files
    flow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in combination.files],
        meta_file=str(bundle / "configs/metadata.json"),
        logging_file=False,
        workflow_type=combination.kind,
        bundle_root=str(bundle),
        dataset_dir=str(data),
        ckpt_dir=str(own if training else planned),
        cache_dir=str(work / "cache"),
        output_dir=str(work / "output"),
        device="cpu",
        num_workers=0,
        # A training in two steps crops by the label: the first step has not been trained. Many folds need many cases.
        **{
            name: value
            for name, value in {"layout": layout, "crop": "label", "folds": 3}.items()
            if name in contents[0]
        },
    )
    with _one_process(any(MULTI_GPU in name for name in combination.files)), _path_restored():
        flow.initialize()  # an overlay for more processes forms the group here
        missing = flow.check_properties()
    if missing:
        raise ValueError(f"missing properties: {', '.join(missing)}")
    if combination.files == ("train.json",) and not list(planned.glob("*.json")):
        shutil.copytree(own, planned, dirs_exist_ok=True)
    return "" if layout == layouts[-1] else f"on phantoms in the layout {layout}, there are none in {layouts[-1]}"


def _base(configs: Path, overlay: Path, *, stages: list[str], bases: dict[str, tuple[str, ...]]) -> str:
    for stage in stages:
        if f"_{stage}" in overlay.stem:
            return f"train_{stage}"
    ids = [key.lstrip("+") for key in read_json(overlay)]
    for name in [name for name in ("train", "evaluate", "inference") if name in bases]:
        merged = {}
        for file in bases[name]:
            merged |= read_json(configs / file)
        if all(knows(merged, key) for key in ids):
            return name
    return "train"


@contextmanager
def _one_process(distributed: bool) -> Iterator[None]:
    """The environment of the only process of `torchrun --nproc_per_node=1`; its process group is left in the end."""
    if not distributed:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    before = {key: os.environ.get(key) for key in group}
    os.environ.update(group)
    try:
        yield
    finally:
        idist.finalize()
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


@contextmanager
def _path_restored() -> Iterator[None]:
    """Configs put the bundle's folder on the path."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
