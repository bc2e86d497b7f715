"""The plan: found without data for the network, recorded by a training with what its cases give."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose
from monai.utils import ensure_tuple
from torch import nn

import common
from common.datasets.identity import image_hash
from common.datasets.keys import described, item_key, stamp
from common.datasets.names import named_cases
from common.datasets.stored import check_values, fingerprint, plan_once, read_stored
from common.transforms.boxes import Box, centered_box, common_size, mask_box
from common.transforms.crop import box_source
from common.transforms.grid import load_on_grid

__all__ = ["PLAN", "decisions_of", "find_plan", "locator_is_needed", "paper_plan", "plan_crop", "plan_recipe"]

logger = logging.getLogger(__name__)

CROPS = ("auto", "locator", "label", "none")
CUT_FRACTION = 0.25


PLAN, WEIGHTS = "plan.json", "model.pt"  # side by side


def find_plan(ckpt_dir: str | Path | Sequence[str], *, bundle: str, bundle_root: str | Path = ".") -> dict[str, Any]:
    """The plan by which a network is built, found without data and from any folder.

    The first that exists of ``plan.json`` in ``ckpt_dir``; in ``models/`` of ``bundle_root`` and of the bundle that
    this package lies in; in ``configs/`` of the same, the paper's.

    Args:
        ckpt_dir: folder of the weights; the first of several.
        bundle: name of the bundle, for a package that lies beside several.
        bundle_root: folder of the bundle, if it is not the current one.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no JSON object or holds an impossible value; of the result, where it lacks a value.
    """
    path = Path(ensure_tuple(ckpt_dir)[0]) / PLAN
    for folder in ("models", "configs"):
        path = path if path.is_file() else _of_bundle(folder, bundle, bundle_root)
    return check_values(read_stored(path), path)


def paper_plan(bundle: str, bundle_root: str | Path = ".") -> dict[str, Any]:
    """The plan that the paper has for its own data set; arguments as for :func:`find_plan`."""
    return read_stored(_of_bundle("configs", bundle, bundle_root))


def _of_bundle(folder: str, bundle: str, bundle_root: str | Path) -> Path:
    """Where a folder of the bundle has its plan, or should."""
    home = Path(common.__file__).resolve().parents[1]
    if not (home / "configs" / "metadata.json").is_file():  # the repository, not a bundle with a package of its own
        home = home / "bundles" / bundle
    given = Path(bundle_root) / folder / PLAN
    return given if given.is_file() and (Path(bundle_root) / "configs").is_dir() else home / folder / PLAN


def decisions_of(plan: dict[str, Any]) -> dict[str, Any]:
    """What a plan decides, without what a training recorded in it."""
    recorded = {*plan.get("recorded", ()), "recorded", "overrides", "traits", "layouts"}
    return {name: value for name, value in plan.items() if name not in recorded}


def plan_recipe(
    path: str | Path,
    cases: Sequence[dict[str, str]],
    *,
    network: nn.Module,
    settings: dict[str, Any],
    plan: dict[str, Any] | None = None,
    demonstration_only: bool = False,
    from_labels: Callable[[Sequence[dict[str, str]]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Note what inference must share with a training, and the numbers that are derived from its cases, if any.

    Args:
        path: JSON file that is written, or read where it holds the same.
        cases: the training cases, each once or several times: those of ``train#dataset#data``.
        network: the network to train; how it is built is noted, for :func:`read_plan`.
        settings: what inference and evaluation take over, JSON-serializable: voxel size, fold, ...
        plan: whose decisions are written with them; settings that differ are recorded as overrides.
        demonstration_only: whether the cases are phantoms; noted for whoever meets the model.
        from_labels: computes numbers from the cases (:func:`common.datasets.balanced_class_weights`, with its
            arguments); anew when these, or the cases' files, change.

    Returns:
        ``settings`` and ``network`` (a fingerprint), ``cases`` (the names), ``image_hashes``, ``demonstration_only``,
        and what ``from_labels`` returns.
    """
    cases = _each_once(cases)
    recipe = {
        **settings,
        "network": fingerprint(network),
        **_identities(cases),
        "demonstration_only": demonstration_only,
    }
    decisions = decisions_of(plan or {})
    inputs = {**decisions, **recipe}
    if from_labels is not None:
        inputs |= {"from_labels": described(from_labels), "files": [item_key(case) for case in cases]}
    found = dict if from_labels is None else functools.partial(from_labels, cases)
    return plan_once(path, inputs, lambda: _recorded(plan or {}, {**recipe, **found()}), weights=WEIGHTS)


def _recorded(plan: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """The plan's decisions with what a training adds to them or decides otherwise, each named as such."""
    decisions = decisions_of(plan)
    if not decisions:
        return training
    overrides = {name for name in decisions.keys() & training if decisions[name] != training[name]}
    overrides |= set(plan.get("overrides", ()))
    names = sorted(training.keys() - decisions)
    return {**decisions, **training, "overrides": sorted(overrides), "recorded": names}


def plan_crop(
    path: str | Path,
    cases: Sequence[dict[str, str]],
    preprocessing: Sequence[Callable],
    *,
    crop: str = "auto",
    network: nn.Module | None = None,
    locate: Callable[[], Callable] | None = None,
    locator_weights: str | Path | None = None,
    buffer: Sequence[int] = (30, 30, 30),
    intensity: str = "case",
    settings: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    demonstration_only: bool = False,
) -> dict[str, Any]:
    """Plan the crop of the segmenter, and the cohort's intensity statistics where they are used, from training cases.

    Args:
        path: JSON file that is written, or read where it was computed from the same inputs.
        cases: the training cases, each once or several times: those of ``train#dataset#data``.
        preprocessing: dictionary transforms that load ``image`` and ``label`` onto the network's grid, (1, D, H, W).
        crop: ``"locator"``: crops around the box that ``locate`` finds; ``"label"``: around the label's own box;
            ``"none"``: whole volumes; ``"auto"``: ``"none"`` where the volumes are already cut to the structure (its
            box fills a quarter of the median volume or more), else ``"locator"``.
        network: the network to train; how it is built is noted, for :func:`read_plan`.
        locate: makes the locator (called only if needed); other rules or settings make another plan.
        locator_weights: its file; other contents make another plan.
        buffer: voxels added to the largest extent per axis in all, (D, H, W).
        intensity: ``"case"``: each crop by its own mean and standard deviation; ``"cohort"``: all by one mean and
            standard deviation over the training crops (the paper). Noted for inference.
        settings: what inference and evaluation take over as it is, JSON-serializable: voxel sizes, fold, ...
        plan: whose decisions are written with them; settings that differ are recorded as overrides.
        demonstration_only: whether the cases are phantoms; noted for whoever meets the model.

    Returns:
        ``settings``, ``crop`` (resolved), ``crop_size`` (D, H, W in voxels, or None), ``intensity``, ``cases`` (the
        names), ``image_hashes``, ``network`` (a fingerprint), ``demonstration_only``; with ``crop`` ``"auto"`` also
        ``box_fraction`` (of the median volume that the structure's box fills); with ``intensity`` ``"cohort"`` also
        ``mean`` and ``std``.

    Raises:
        ValueError: for an unknown ``crop`` or ``intensity``.
    """
    if crop not in CROPS:
        raise ValueError(f"crop must be one of {', '.join(CROPS)}, got {crop!r}")
    if intensity not in ("case", "cohort"):
        raise ValueError(f"intensity must be case or cohort, got {intensity!r}")
    cases = _each_once(cases)
    weights = Path(locator_weights or "")
    locates = locate is not None and crop in ("auto", "locator")
    inputs = {
        "locate": _rule(locate) if locates else None,
        "preprocessing": described(preprocessing),
        "locator": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
        "cases": sorted([case["case"], stamp(case["image"]), stamp(case["label"])] for case in cases),
        "crop": crop,
        "buffer": list(buffer),
        "intensity": intensity,
        "settings": {**decisions_of(plan or {}), **(settings or {})},
        "network": None if network is None else fingerprint(network),
        "demonstration_only": demonstration_only,
    }

    def compute() -> dict[str, Any]:
        load = Compose(preprocessing)
        mode, found = crop, {}
        if crop == "auto":
            fraction = _box_fraction(cases)
            mode, found = "none" if fraction >= CUT_FRACTION else "locator", {"box_fraction": round(fraction, 4)}
        if mode == "locator" and locate is None:
            raise ValueError("crop=locator needs a locator")
        find = box_source(mode, locate)
        boxes = {}
        if find is not None:
            for case in cases:
                data = load({"image": case["image"], "label": case["label"]})
                volume = data[getattr(find, "source_key", "image")]
                boxes[case["case"]] = find(volume) or Box.whole(volume.shape[1:])
        crop_size = None if find is None else common_size(list(boxes.values()), buffer=buffer)
        if intensity == "cohort":
            found["mean"], found["std"] = _statistics(cases, load, boxes, crop_size)
        training = {
            **(settings or {}),
            "crop": mode,
            "crop_size": None if crop_size is None else list(crop_size),
            "intensity": intensity,
            **found,
            "network": inputs["network"],
            **_identities(cases),
            "demonstration_only": demonstration_only,
        }
        return _recorded(plan or {}, training)

    return plan_once(path, inputs, compute, weights=WEIGHTS)


def locator_is_needed(crop: str, cases: Sequence[dict[str, str]]) -> bool:
    """Whether the segmenter will use a locator; the log says why not.

    Args:
        crop: as in :func:`plan_crop`.
        cases: the training cases, each once or several times.
    """
    if crop in ("label", "none"):
        reason = f"crop is {crop}"
    elif crop == "auto" and _box_fraction(_each_once(cases)) >= CUT_FRACTION:
        reason = "the volumes are already cut to the structure (crop auto)"
    else:
        return True
    logger.info("no locator is needed: %s. --crop locator trains one all the same", reason)
    return False


def _each_once(cases: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The cases by name: a training may take one several times in an epoch."""
    return list({case["case"]: case for case in named_cases(cases)}.values())


def _identities(cases: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """By what an evaluation knows the cases again."""
    hashes = {image_hash(case.get("image")) for case in cases} - {None}
    return {"cases": sorted(case["case"] for case in cases), "image_hashes": sorted(hashes)}


def _rule(locate: Callable) -> Any:
    """How a locator is made, as JSON, but for its weights, which are told apart by their file, and its device."""
    if not isinstance(locate, functools.partial):
        return described(locate)
    settings = {name: value for name, value in locate.keywords.items() if name not in ("weights", "device")}
    if isinstance(settings.get("network"), nn.Module):
        settings["network"] = fingerprint(settings["network"])
    return described([locate.func, locate.args, settings])


def _box_fraction(cases: Sequence[dict[str, str]]) -> float:
    """Fraction of the volume that the structure's bounding box fills, median over the cases."""
    fractions = []
    load = load_on_grid(keys=["label"])
    for case in cases:
        label = load({"label": case["label"]})["label"][0]
        box = mask_box(label)
        fractions.append(0.0 if box is None else float(np.prod(box.shape)) / label.numel())
    return float(np.median(fractions))


def _statistics(
    cases: Sequence[dict[str, str]], load: Callable, boxes: dict[str, Box], crop_size: tuple[int, ...] | None
) -> tuple[float, float]:
    """Mean and standard deviation (at least 1e-6) over the voxels of all crops; one volume in memory at a time."""
    total, squares, count = 0.0, 0.0, 0
    for case in cases:
        volume = load({"image": case["image"], "label": case["label"]})["image"][0]
        shape = tuple(volume.shape)
        region = Box.whole(shape) if crop_size is None else centered_box(boxes[case["case"]], crop_size, shape)
        voxels = np.asarray(volume, dtype=np.float64)[region.slices]
        total, squares, count = total + voxels.sum(), squares + np.square(voxels).sum(), count + voxels.size
    mean = total / count
    return float(mean), float(max(np.sqrt(max(squares / count - mean**2, 0.0)), 1e-6))
