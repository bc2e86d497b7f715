"""Make the plan of a training: the paper's for the paper's data set, for any other by rules from its training cases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.datasets.check import Seen, check_datalist
from common.datasets.errors import DataError
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.measured import label_values_of, modality_of, structures_by_value
from common.datasets.layouts.registry import recognize
from common.datasets.plan import PLAN, find_plan, paper_plan
from common.datasets.planning.belongs import check_plan, is_the_papers, source_of, told_sizes, untrained
from common.datasets.planning.channels import channels_of
from common.datasets.planning.extras import EXTRAS
from common.datasets.planning.measures import measured_cases, summarize
from common.datasets.planning.rules import Traits, decide
from common.datasets.planning.table import plan_table
from common.datasets.shards import run_on_rank_zero
from common.datasets.splits import Split, split
from common.datasets.stored import read_stored
from common.datasets.stored_splits import stratified_split
from common.files import TEXT, readable, whole_file

__all__ = ["make_plan"]

logger = logging.getLogger(__name__)


def make_plan(
    ckpt_dir: str | Path,
    dataset_dir: str | Path,
    *,
    bundle: str,
    bundle_root: str | Path = ".",
    layout: str = "auto",
    fold: int | str = 0,
    folds: int = 5,
    seed: int = 0,
    groups: str | None = None,
    cache_dir: str | Path | None = None,
    memory_gb: float | None = None,
) -> dict[str, Any]:
    """The plan in a folder, made where there is none; rank 0 makes it for all.

    The paper's data set gets the paper's plan (``configs/plan.json`` of the bundle), any other one by the rules of
    :mod:`common.datasets.planning.rules`, after every case was checked: faulty data leaves no plan.

    Args:
        ckpt_dir: folder of the weights. A ``plan.json`` that is there is kept: a person may have written or edited it.
        dataset_dir: the data set; where there is none, the plan is the one that :func:`~common.datasets.find_plan`
            finds.
        bundle: name of the bundle.
        bundle_root: folder of the bundle, if it is not the current one.
        layout: ``"auto"``, or one of :data:`~common.datasets.layouts.registry.LAYOUTS`.
        fold: that is held out, the rules see the training cases alone; or ``"all"``, for none.
        folds: how many.
        seed: of the folds.
        groups: which cases stay in one fold, as for :func:`~common.datasets.split`.
        cache_dir: where verdicts on cases are remembered, as for :func:`~common.datasets.training_cases`.
        memory_gb: that a training step may take; None: half of what the machine has.

    Raises:
        DataError: for a data set that is not recognized, has faults, that the bundle cannot take, or that another plan
            is for.
    """
    file = Path(ckpt_dir) / PLAN

    def make() -> dict[str, Any]:
        if not Path(dataset_dir).exists():  # a host gives its cases as a list; other trainings say what is missing
            return dict(find_plan(ckpt_dir, bundle=bundle, bundle_root=bundle_root))
        data_set = recognize(dataset_dir, layout)
        if file.is_file():
            plan = read_stored(file)
            check_plan(file, plan, data_set, bundle=bundle)
            return dict(plan)
        paper = dict(paper_plan(bundle, bundle_root))
        traits = Traits(**paper.pop("traits"))
        head = {"bundle": bundle, "source": source_of(data_set)}
        if is_the_papers(data_set, paper, paper.pop("layouts")):
            plan = {**paper, "layout": data_set.layout, **head}
            logger.info("%s: laid out and labeled as the paper's data set: the paper's plan", dataset_dir)
        else:

            def parts(label_value: int | None) -> Split:
                chosen = {"fold": fold, "folds": folds, "seed": seed, "groups": groups}
                if traits.split == "stratified":
                    path = Path(ckpt_dir) / "split.json"
                    return stratified_split(path, data_set.cases, label_value=label_value, **chosen)
                return split(data_set.cases, **chosen)

            cache_file = None if cache_dir is None else Path(cache_dir) / "checked.json"
            plan = {**_planned(data_set, parts, paper, traits, cache_file, memory_gb), **head}
        with whole_file(file) as new:
            new.write_text(readable(plan), **TEXT)
        logger.info("planned %s; edit it, or override a value with --name value:\n%s", file, plan_table(plan))
        return plan

    return run_on_rank_zero(make)


def _planned(
    data_set: DataSet,
    parts: Callable[[int | None], Split],
    paper: dict[str, Any],
    traits: Traits,
    cache_file: Path | None,
    memory_gb: float | None,
) -> dict[str, Any]:
    """The plan of another data set than the paper's."""
    said = "as the data set says"
    reasons = {"layout": "by the names in the folder", "modality": said, "channels": said, "structures": said}
    files = [case["image"] for case in data_set.cases]
    channels, modality = list(data_set.channels), data_set.modality
    structures = dict(data_set.structures)
    if not structures:
        structures = structures_by_value(label_values_of([case["label"] for case in data_set.cases]))
        reasons["structures"] = "the values in the labels; name them here and in regions"
    if not channels:
        first = files[0]
        channels = [f"channel {n}" for n in range(len(first) if isinstance(first, list) else 1)]
        reasons["channels"] = "the data set names none"
    if not structures:
        raise DataError(f"a data set in the layout {data_set.layout} with no structure in any label")

    values = sorted({value for own in structures.values() for value in _values(own)})
    takes_ignore = [data_set.ignore] if "output_values" in paper and data_set.ignore is not None else []
    seen = check_datalist(
        data_set.cases,
        channels=len(channels),
        label_values=(0, *values, *takes_ignore),
        structures=data_set.structures,
        cache_file=cache_file,
    )
    if modality is None:
        modality, doubt = modality_of(files)
        reasons["modality"] = "by the intensities" + (", in doubt: correct it here if it is wrong" if doubt else "")
        if doubt:
            logger.warning("the modality is in doubt: %s", doubt)
    channels = channels if data_set.channels or len(channels) > 1 else [modality]
    rarest, why = _stratified_by(values, seen)
    fold = parts(rarest)
    train = fold["train"]
    untrained(structures, train, seen)
    measured = measured_cases(train, channels=len(channels))
    for case in measured:
        case["labels"].pop(str(data_set.ignore), None)
    data = summarize(measured, channels)
    data |= {"train": len(train), "held_out": len(data_set.cases) - len(train)}
    decisions = decide(traits, data, modality=modality, cases=len(train), memory_gb=memory_gb)
    if "first_stage_epochs" in paper:
        decisions.take("first_stage_epochs", decisions["epochs"], "as many as of the last stage")
    for name in traits.extras:
        EXTRAS[name](decisions, data, [0, *values])
    if traits.split == "stratified":
        decisions.take("stratified_by", rarest, why)
    told_sizes(data_set.cases, seen, decisions, traits)

    absent = [name for name, own in structures.items() if not all({*_values(own)} & {*s.values} for s in seen.values())]
    head = {
        "about": f"planned for {data_set.layout} data",
        "layout": data_set.layout,
        "channels": channels,
        "modality": modality,
        "structures": structures,
        "label_values": [0, *values],
        "regions": structures,
        "may_be_absent": absent,
        "ignore": data_set.ignore,
        "output": "sigmoid" if traits.sigmoid else "softmax",
        **({"channel_order": list(range(len(channels)))} if "channel_order" in paper else {}),
    }
    why_channels: dict[str, str] = {}
    if "output_values" in paper:
        of_channels, why_channels = channels_of(structures, data_set.regions_class_order)
        head |= of_channels
    known = {**paper, **head, **decisions}
    reasons |= {
        "label_values": "that a label may hold: background and the structures",
        "regions": "what is measured in an evaluation, by name",
        "may_be_absent": "the structures that some case lacks",
        "ignore": "the label value of voxels that nobody labeled",
        "output": "a map for each structure" if traits.sigmoid else "one structure for each voxel",
        "output_values": "the label values of each of the network's channels",
        "written_values": "the label value that an answer gets for each channel",
        "channel_order": "as the files are",
        **why_channels,
        **decisions.reasons,
    }
    return {**known, "reasons": {key: reasons.get(key, "the paper's") for key in known if key != "about"}, "data": data}


def _values(own: int | Sequence[int]) -> Sequence[int]:
    return [own] if isinstance(own, int) else own


def _stratified_by(values: Sequence[int], seen: dict[str, Seen]) -> tuple[int | None, str]:
    """The label value that most cases lack, None where none lacks one, and the reason."""
    having = {value: sum(value in own.values for own in seen.values()) for value in values}
    rarest = min(values, key=lambda value: having[value])
    if having[rarest] == len(seen):
        return None, "every case has every structure"
    return rarest, f"{having[rarest]} of {len(seen)} cases have it: spread evenly over the folds"
