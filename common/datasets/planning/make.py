"""Make the plan of a training: the paper's for the paper's data set, for any other by rules from its training cases."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.datasets.errors import DataError
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.measured import label_values_of, modality_of, structures_by_value
from common.datasets.layouts.registry import recognize
from common.datasets.plan import PLAN, find_plan, paper_plan
from common.datasets.planning.first_stage import first_stage, one_piece
from common.datasets.planning.measures import measured_cases, summarize
from common.datasets.planning.rules import Decisions, Traits, decide
from common.datasets.shards import run_on_rank_zero
from common.datasets.splits import split
from common.datasets.stored import read_stored
from common.files import whole_file

__all__ = ["make_plan", "plan_table"]

logger = logging.getLogger(__name__)

BACKGROUND_PATCHES = 0.2  # probability that a patch is centered on background
Decide = Callable[[Decisions, dict[str, Any], Sequence[int]], None]  # measured data, label values


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
    memory_gb: float | None = None,
) -> dict[str, Any]:
    """The plan in a folder, made where there is none; rank 0 makes it for all.

    The paper's data set gets the paper's plan (``configs/plan.json`` of the bundle), any other one by the rules of
    :mod:`common.datasets.planning.rules`.

    Args:
        ckpt_dir: folder of the weights. A ``plan.json`` that is there is kept: a person may have written or edited it.
        dataset_dir: the data set; where there is none, the plan is the one that :func:`~common.datasets.find_plan`
            finds.
        bundle: name of the bundle.
        bundle_root: folder of the bundle, if it is not the current one.
        layout: ``"auto"``, or one of :data:`~common.datasets.layouts.registry.LAYOUTS`.
        fold: that is held out, the rules see the other cases alone; or ``"all"``, for none.
        folds: how many.
        seed: of the folds.
        memory_gb: that a training step may take; None: half of what the machine has.

    Raises:
        DataError: for a data set that is not recognized, that the bundle cannot take, or that another plan is for.
    """
    file = Path(ckpt_dir) / PLAN

    def make() -> dict[str, Any]:
        if not Path(dataset_dir).exists():  # a host gives its cases as a list; other trainings say what is missing
            return dict(find_plan(ckpt_dir, bundle=bundle, bundle_root=bundle_root))
        data_set = recognize(dataset_dir, layout)
        if file.is_file():
            plan = read_stored(file)
            _check_data_set(file, plan, data_set)
            return dict(plan)
        paper = dict(paper_plan(bundle, bundle_root))
        traits = Traits(**paper.pop("traits"))
        layouts = paper.pop("layouts")
        if _is_the_papers(data_set, paper, layouts):
            plan = {**paper, "layout": data_set.layout}
            logger.info("%s: laid out and labeled as the paper's data set: the paper's plan", dataset_dir)
        else:
            train = split(data_set.cases, fold=fold, folds=min(folds, len(data_set.cases)), seed=seed)["train"]
            plan = _planned(data_set, train, paper, traits, memory_gb)
        with whole_file(file) as new:
            new.write_text(plan_json(plan))
        logger.info("planned %s; edit it, or override a value with --name value:\n%s", file, plan_table(plan))
        return plan

    return run_on_rank_zero(make)


def plan_json(plan: dict[str, Any]) -> str:
    """A plan as JSON with a line for each decision."""
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in plan.items()) + "\n}\n"


def plan_table(plan: dict[str, Any]) -> str:
    """A plan as text: a line for each decision, with its reason."""
    reasons = plan.get("reasons", {})
    hidden = {"reasons", "data", "cases", "about", "layouts"}
    rows = [(name, json.dumps(value), reasons.get(name, "")) for name, value in plan.items() if name not in hidden]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {reason}".rstrip() for name, value, reason in rows]
    data = plan.get("data")
    if data:
        shape, spacing = (" x ".join(f"{n:g}" for n in data[key]["median"]) for key in ("shape", "spacing_mm"))
        lines.insert(0, f"{data['cases']} cases measured: median {shape} voxels (z, y, x) of {spacing} mm")
    return "\n".join(lines)


def _planned(
    data_set: DataSet,
    train: Sequence[dict[str, Any]],
    paper: dict[str, Any],
    traits: Traits,
    memory_gb: float | None,
) -> dict[str, Any]:
    files = [case["image"] for case in train]
    channels = list(data_set.channels)
    modality, reason = data_set.modality, "as the data set says"
    if modality is None:
        modality, doubt = modality_of(files)
        reason = "by its intensities" + (f"; in doubt: {doubt}" if doubt else "")
    if not channels:
        first = files[0]
        channels = [f"channel {n}" for n in range(len(first))] if isinstance(first, list) else [modality]
    structures, ignore = _structures(data_set, train)
    _refuse(data_set, channels, structures, traits)
    measured = measured_cases(train, channels=len(channels))
    for case in measured:
        case["labels"].pop(str(ignore), None)
    data = summarize(measured, channels)
    decisions = decide(traits, data, modality=modality, cases=len(train), memory_gb=memory_gb)
    values = sorted({value for own in structures.values() for value in (own if isinstance(own, list) else [own])})
    if "first_stage_epochs" in paper:
        decisions.take("first_stage_epochs", decisions["epochs"], "as many as of the last stage")
    absent = [name for name, own in structures.items() if _cases_with(data, own) < data["cases"]]
    for name in traits.extras:
        EXTRAS[name](decisions, data, [0, *values])
    output = _output(structures, traits)
    order = {"regions_class_order": list(data_set.regions_class_order)} if data_set.regions_class_order else {}
    head = {
        "about": f"planned for {data_set.layout} data",
        "layout": data_set.layout,
        "channels": channels,
        "modality": modality,
        "structures": structures,
        "label_values": [0, *values],
        "regions": structures,
        "may_be_absent": absent,
        "ignore": ignore,
        "output": output,
        "output_names": _output_names(structures, values, output, traits),
        **order,
        **({"channel_order": list(range(len(channels)))} if "channel_order" in paper else {}),
    }
    known = {**paper, **head, **decisions}
    reasons = {"modality": reason, "structures": "as the data set names them", **decisions.reasons}
    reasons |= {key: "the paper's" for key in paper if key not in reasons and key not in head}
    return {**known, "reasons": reasons, "data": data}


def _structures(data_set: DataSet, train: Sequence[dict[str, Any]]) -> tuple[dict[str, int | list[int]], int | None]:
    if data_set.structures:
        return dict(data_set.structures), data_set.ignore
    return structures_by_value(label_values_of([case["label"] for case in train])), data_set.ignore


def _output(structures: dict[str, int | list[int]], traits: Traits) -> str:
    """What the network answers with."""
    values = [value for own in structures.values() for value in (own if isinstance(own, list) else [own])]
    separate = len(structures) == 1 or len(values) > len(set(values)) if traits.sigmoid is None else traits.sigmoid
    return "sigmoid" if separate else "softmax"


def _output_names(structures: dict[str, int | list[int]], values: Sequence[int], output: str, traits: Traits) -> list:
    """What each channel of the network's answer is."""
    if output == "sigmoid" and traits.sigmoid is None:
        return list(structures)
    named = {own: name for name, own in structures.items() if isinstance(own, int)}
    names = [named.get(value, f"structure {value}") for value in values]
    return names if output == "sigmoid" else ["background", *names]


def _cases_with(data: dict[str, Any], values: int | Sequence[int]) -> int:
    own = values if isinstance(values, list | tuple) else [values]
    return max((data["volume_ml"].get(str(value), {"cases": 0})["cases"] for value in own), default=0)


def _refuse(data_set: DataSet, channels: Sequence[str], structures: dict[str, Any], traits: Traits) -> None:
    """Say what the bundle cannot take yet, by name."""
    faults = []
    if traits.max_channels is not None and len(channels) > traits.max_channels:
        faults.append(f"{len(channels)} channels ({', '.join(channels)}), this bundle takes {traits.max_channels}")
    if traits.max_structures is not None and len(structures) > traits.max_structures:
        names = ", ".join(structures)
        faults.append(f"{len(structures)} structures ({names}), this bundle takes {traits.max_structures}")
    if not structures:
        faults.append("no structure in any label")
    if faults:
        raise DataError(f"a data set in the layout {data_set.layout} with {'; '.join(faults)}: choose another bundle")


def _is_the_papers(data_set: DataSet, paper: dict[str, Any], layouts: dict[str, list[str] | None]) -> bool:
    """Whether a data set is the paper's, or laid out and labeled like it."""
    named = layouts.get(data_set.layout, ())
    values = set(data_set.label_values) - {0}
    return (
        (named is None or sorted(named) == sorted(name.lower() for name in data_set.structures))
        and bool(values)
        and values <= set(paper["label_values"])
        and len(data_set.channels or paper["channels"]) == len(paper["channels"])
        and data_set.modality in (None, paper["modality"])
    )


def _check_data_set(path: Path, plan: dict[str, Any], data_set: DataSet) -> None:
    """Refuse a plan that is for another data set."""
    faults = []
    if data_set.channels and len(data_set.channels) != len(plan.get("channels", data_set.channels)):
        faults.append(f"{len(data_set.channels)} channels, planned are {len(plan['channels'])}")
    planned = {*plan.get("label_values", data_set.label_values), *({plan.get("ignore")} - {None})}
    if not set(data_set.label_values) <= planned:
        faults.append(f"label values {data_set.label_values}, planned are {sorted(planned)}")
    if faults:
        raise DataError(f"{path}: the plan is for another data set; this one has {'; '.join(faults)}")


def _center_probabilities(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Patches are centered on background in a fifth of all draws, on structures the more often the smaller they are."""
    volumes = [data["volume_ml"].get(str(value), {"median": 0.0, "cases": 0}) for value in values[1:]]
    weights = [own["median"] ** -0.5 if own["median"] > 0 else 0.0 for own in volumes]
    drawn = {str(n): round((1 - BACKGROUND_PATCHES) * w / sum(weights), 3) for n, w in enumerate(weights, start=1)}
    decisions.take(
        "center_probabilities",
        {"0": BACKGROUND_PATCHES, **drawn},
        "a fifth of the patches on background, the others by one over the root of the structure's median volume",
    )
    rarest = min(range(len(volumes)), key=lambda n: volumes[n]["cases"])
    some = volumes[rarest]["cases"] < data["cases"]
    reason = "the structure that most cases lack" if some else "every case has every structure"
    decisions.take("stratified_by", values[1:][rarest] if some else None, reason)
    decisions.take("lesions", None, "no structure is known to be a lesion")
    decisions.take("component_filter", False, "whether structures are of one piece is not known")


def _components(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """Limits on the number and size of components."""
    limits = data["components"]
    smallest = min((limit["min_mm3"] for limit in limits.values()), default=0.0)
    decisions.take("components", [limit["keep"] for limit in limits.values()], "of which each holds a tenth or more")
    decisions.take("min_size", smallest, "a tenth of the smallest component that a case has (5th percentile), in mm3")
    decisions.take("coarse_min_size", smallest / 2, "half of it, as in the paper")


def _coarse_grid(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """The first stage's grid, in the proportions of the second's."""
    sides = [max(32, min(160, 16 * round(side * 160 / 192 / 16))) for side in decisions["grid"]]
    decisions.take("coarse_grid", sides, "the grid times 160 / 192, as in the paper")


def _working_size(decisions: Decisions, data: dict[str, Any], values: Sequence[int]) -> None:
    """OSS-Net's names for a fixed grid."""
    reason = decisions.reasons.pop("grid")
    decisions.take("working_size", decisions.pop("grid"), reason)
    decisions.take("placement", "resize", "cases differ in size from this grid")


EXTRAS: dict[str, Decide] = {
    "center_probabilities": _center_probabilities,
    "coarse_grid": _coarse_grid,
    "components": _components,
    "first_stage": first_stage,
    "one_piece": one_piece,
    "working_size": _working_size,
}
