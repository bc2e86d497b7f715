"""What the configs call: the cases of a run, checked, or one message that says what is wrong with which file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from common.datasets.check import check_datalist, is_whole
from common.datasets.errors import DataError
from common.datasets.identity import by_identity
from common.datasets.inputs import inference_datalist
from common.datasets.layouts.registry import recognize
from common.datasets.names import equal_names, named_cases
from common.datasets.shards import run_on_rank_zero
from common.transforms.save import prediction_path

__all__ = ["cases_trained_on", "inference_cases", "labeled_cases", "select", "training_cases"]

logger = logging.getLogger(__name__)

# Layouts whose files name the structures; in others they are those of the published data set.
STATED = ("bids", "decathlon", "datalist", "msd_task01", "nnunet")


def training_cases(
    layout: str,
    dataset_dir: str | Path,
    *,
    channels: int = 1,
    label_values: Sequence[int] = (0, 1),
    cache_dir: str | Path | None = None,
) -> list[dict[str, str]]:
    """The labeled cases of a data set, every file checked.

    What the data set says of itself comes first: a network for other channels or structures is refused by their names,
    before a file is read.

    Args:
        layout: ``"auto"``, the one that fits, or how the folder is laid out, one of
            :data:`~common.datasets.layouts.registry.LAYOUTS`.
        dataset_dir: the folder.
        channels: channels that every image must have.
        label_values: values that a label may have.
        cache_dir: where verdicts are remembered, so that the next start is quick.

    Returns:
        ``case``, ``image`` and ``label`` of every case.

    Raises:
        DataError: one message that names every file and its fault; or channels or structures that are not taken.
    """
    cache_file = None if cache_dir is None else Path(cache_dir) / "checked.json"

    def checked() -> list[dict[str, str]]:
        found = recognize(dataset_dir, layout)
        structures = found.structures if found.layout in STATED else {}
        if fault := _not_taken(found.channels, structures, channels=channels, label_values=label_values):
            raise DataError(f"{dataset_dir}: {fault}")
        check_datalist(
            found.cases,
            channels=channels,
            label_values=tuple(label_values),
            structures=structures,
            cache_file=cache_file,
        )
        return found.cases

    return run_on_rank_zero(checked)


def _not_taken(
    named: Sequence[str], structures: Mapping[str, int | list[int]], *, channels: int, label_values: Sequence[int]
) -> str:
    """Why a training that takes so many channels and these label values cannot take a data set, by what it names."""
    if named and len(named) != channels:
        return f"has {len(named)} channels ({', '.join(named)}), and this training takes {channels}"
    allowed = set(map(int, label_values))
    if others := {name: _values(own) for name, own in structures.items() if not allowed.issuperset(_values(own))}:
        listed = ", ".join(f"{name} ({', '.join(map(str, values))})" for name, values in others.items())
        return f"has structures that this training does not take: {listed}; it takes the label values {sorted(allowed)}"
    return ""


def _values(own: int | list[int]) -> list[int]:
    return [own] if isinstance(own, int) else own


def labeled_cases(layout: str, dataset_dir: str | Path) -> list[dict[str, str]]:
    """The labeled cases of a data set, unread: for evaluation, where a bad case does not stop the others.

    Args:
        layout: as for :func:`training_cases`.
        dataset_dir: the folder.

    Raises:
        DataError: where a folder or file is missing, there are no cases, or several of one name.
    """

    def listed() -> list[dict[str, str]]:
        cases = recognize(dataset_dir, layout).cases
        if twice := equal_names(cases):
            lines = "\n".join(f"  {case}: {fault}" for case, fault in twice.items())
            raise DataError(f"{dataset_dir}: cases cannot be told apart; rename or remove them:\n{lines}")
        return cases

    return run_on_rank_zero(listed)


def select(
    cases: Sequence[dict[str, str]],
    subset: str,
    *,
    parts: Callable[[], Mapping[str, list[dict[str, str]]]],
    plan: Mapping[str, Any] | None = None,
) -> list[dict[str, str]]:
    """The cases to evaluate; a warning says how many of them the model was trained on.

    Args:
        cases: the labeled cases of the data set.
        subset: a part of the split, such as ``"validate"`` or ``"test"``, or ``"all"`` (new data).
        parts: makes the split of ``cases``, part -> cases; called only if needed.
        plan: that beside the weights, as for :func:`cases_trained_on`.

    Raises:
        ValueError: for another ``subset``.
        DataError: for a subset without cases.
    """
    if subset == "all":
        chosen = sorted(cases, key=lambda case: case["case"])
    else:
        split = parts()
        if subset not in split:
            raise ValueError(f"subset must be one of {', '.join([*split, 'all'])}, got {subset!r}")
        chosen = split[subset]
    if not chosen:
        raise DataError(f"the subset {subset!r} holds none of the {len(cases)} cases: there is nothing to evaluate")
    seen = [] if plan is None else cases_trained_on(plan, chosen)
    if seen and idist.get_rank() == 0:
        logger.warning(
            "%d of these %d cases were in the model's training: their metrics flatter it, and are summarized apart",
            len(seen),
            len(chosen),
        )
    return chosen


def cases_trained_on(plan: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of those cases that weights were trained on, or the weights that their training started from.

    Args:
        plan: that beside the weights, with ``cases`` (names, or hashes of them), perhaps ``image_hashes``, and ``init``
            (:func:`common.checkpoints.init_record`) or without.
        cases: ``case`` and ``image`` of each; a case is known by its name or its image.
    """
    known = {*plan["cases"], *plan.get("image_hashes", []), *(plan.get("init") or {}).get("cases", [])}
    return sorted({str(case["case"]) for case in by_identity(named_cases(cases), known)})


def inference_cases(
    source: str | Path | Sequence[str], output_dir: str | Path, *, skip_existing: bool = False
) -> list[dict[str, str]]:
    """The images to predict.

    Args:
        source: a folder, a file, a DICOM series' folder, or a list of them.
        output_dir: where the predictions go; ``<case>_seg<suffix>`` right in it is one of an earlier run, no input.
        skip_existing: leave out cases whose prediction is there already, and whole.

    Raises:
        DataError: where there is no image to predict, with the reason.
        ValueError: if ``skip_existing`` is no boolean.
    """
    if not isinstance(skip_existing, bool):
        raise ValueError(
            f"skip_existing must be True or False (capitalized on the command line), got {skip_existing!r}"
        )
    return run_on_rank_zero(lambda: _wanted(source, output_dir, skip_existing))


def _wanted(source: str | Path | Sequence[str], output_dir: str | Path, skip_existing: bool) -> list[dict[str, str]]:
    cases = inference_datalist(source, output_dir)
    if not skip_existing:
        return cases
    missing, broken = [], []
    for case in cases:
        path = prediction_path(output_dir, case["case"], case["image"])
        if not path.exists() or not is_whole(path):
            missing.append(case)
            broken += [path.name] if path.exists() else []
    if broken:
        logger.warning("%s: %d predictions cannot be read and are made again: %s", output_dir, len(broken), broken[0])
    if not missing:
        logger.info("all %d predictions exist in %s: nothing to do", len(cases), output_dir)
    return missing
