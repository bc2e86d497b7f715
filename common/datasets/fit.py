"""Numbers that are fitted to the training cases once and stored as readable JSON beside the model."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose
from torch import nn

from common.datasets.cache import _described, _item_key
from common.datasets.shares import decided_once
from common.files import whole_file
from common.transforms.boxes import Box, centred_window, common_size, mask_box
from common.transforms.crop import box_source
from common.transforms.grid import load_on_grid

__all__ = ["fit_once", "fit_recipe", "fit_window", "read_fit", "stamp", "stop_unless_locating"]

logger = logging.getLogger(__name__)

CROPS = ("auto", "locator", "label", "none")
CUT_SHARE = 0.25


def fit_once(path: str | Path, inputs: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The stored result for these inputs, or a new one: computed and written whole by rank 0, told to every rank.

    Args:
        path: JSON file; one that was computed from other inputs is replaced.
        inputs: everything the result depends on, JSON-serialisable; only its hash is stored.
        compute: does the work.
    """
    path = Path(path)
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]

    def fit() -> dict[str, Any]:
        if not path.is_file() or read_fit(path).get("inputs_hash") != key:
            text = json.dumps({**compute(), "inputs_hash": key}, indent=1)
            with whole_file(path) as file:
                file.write_text(text + "\n")
            logger.info("fitted %s", path)
        return read_fit(path)

    return decided_once(fit)


def read_fit(path: str | Path, *, network: nn.Module | None = None) -> dict[str, Any]:
    """What a training run fitted and inference shares.

    Args:
        path: JSON file beside the weights.
        network: the network that the weights are for; it must be built as the trained one was. Weights alone do not
            tell: instance normalisation has no parameters, dilation no shape.

    Raises:
        FileNotFoundError: if there is no such file: the weights beside it cannot be used without.
        ValueError: if the network is another one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the numbers fitted in training are missing; they belong beside the weights")
    fit = json.loads(path.read_text())
    if network is not None and fit["network"] != _architecture(network):
        raise ValueError(
            f"{path}: the weights beside it are of a network that was configured otherwise; "
            "merge the same overlays (paper.json, experiments/...) as in its training"
        )
    return fit


def fit_recipe(
    path: str | Path,
    cases: Sequence[dict[str, str]],
    *,
    network: nn.Module,
    settings: dict[str, Any],
    demonstration_only: bool = False,
    fitted: Callable[[Sequence[dict[str, str]]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Note what inference must share with a training, and the numbers that are fitted to its cases, if any.

    Args:
        path: JSON file that is written, or read where it holds the same.
        cases: the training cases.
        network: the network to train; how it is built is noted, for :func:`read_fit`.
        settings: what inference and evaluation take over, JSON-serialisable: voxel size, window, fold, ...
        demonstration_only: whether the cases are phantoms; noted for whoever meets the model.
        fitted: computes numbers from the cases (:func:`common.datasets.balanced_class_weights`, with its arguments);
            anew when these, or the cases' files, change.

    Returns:
        ``settings`` and ``network`` (a fingerprint), ``cases`` (the names), ``demonstration_only``, and what ``fitted``
        returns.
    """
    recipe = {
        **settings,
        "network": _architecture(network),
        "cases": sorted(case["case"] for case in cases),
        "demonstration_only": demonstration_only,
    }
    if fitted is None:
        return fit_once(path, recipe, lambda: recipe)
    inputs = {**recipe, "fitted": _described(fitted, ()), "files": [_item_key(case) for case in cases]}
    return fit_once(path, inputs, lambda: {**recipe, **fitted(cases)})


def fit_window(
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
    demonstration_only: bool = False,
) -> dict[str, Any]:
    """Fit the window of the segmenter and the cohort's intensity statistics to the training cases.

    Args:
        path: JSON file that is written, or read where it was computed from the same inputs.
        cases: the training cases.
        preprocessing: dictionary transforms that load ``image`` and ``label`` onto the network's grid, (1, D, H, W).
        crop: ``"locator"``: windows around the box that ``locate`` finds; ``"label"``: around the label's own box;
            ``"none"``: whole volumes; ``"auto"``: ``"none"`` where the volumes are already cut to the structure (its
            box fills a quarter of the median volume or more), else ``"locator"``.
        network: the network to train; how it is built is noted, for :func:`read_fit`.
        locate: makes the locator (called only if needed).
        locator_weights: its file; other contents make another fit.
        buffer: voxels added to the largest extent per axis in all, (D, H, W).
        intensity: ``"case"``: each crop by its own mean and standard deviation; ``"cohort"``: all by one mean and
            standard deviation over the training crops (the paper). Noted for inference.
        settings: what inference and evaluation take over as it is, JSON-serialisable: voxel sizes, window, fold, ...
        demonstration_only: whether the cases are phantoms; noted for whoever meets the model.

    Returns:
        ``settings``, ``crop`` (resolved), ``window`` (D, H, W in voxels, or None), ``intensity``, ``mean``, ``std``,
        ``share`` (of the median volume that the structure's box fills), ``cases`` (the names), ``network`` (a
        fingerprint), ``demonstration_only``.

    Raises:
        ValueError: for an unknown ``crop`` or ``intensity``.
    """
    if crop not in CROPS:
        raise ValueError(f"crop must be one of {', '.join(CROPS)}, got {crop!r}")
    if intensity not in ("case", "cohort"):
        raise ValueError(f"intensity must be case or cohort, got {intensity!r}")
    weights = Path(locator_weights or "")
    inputs = {
        "locator": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
        "cases": sorted([case["case"], stamp(case["image"]), stamp(case["label"])] for case in cases),
        "crop": crop,
        "buffer": list(buffer),
        "intensity": intensity,
        "settings": settings or {},
        "network": None if network is None else _architecture(network),
        "demonstration_only": demonstration_only,
    }

    def compute() -> dict[str, Any]:
        load = Compose(preprocessing)
        share = _share(cases)
        mode = crop if crop != "auto" else ("none" if share >= CUT_SHARE else "locator")
        if mode == "locator" and locate is None:
            raise ValueError("crop=locator needs a locator")
        find = box_source(mode, locate)
        boxes = {}
        if find is not None:
            for case in cases:
                data = load({"image": case["image"], "label": case["label"]})
                volume = data[getattr(find, "source_key", "image")]
                boxes[case["case"]] = find(volume) or Box.whole(volume.shape[1:])
        window = None if find is None else common_size(list(boxes.values()), buffer=buffer)
        mean, std = _statistics(cases, load, boxes, window)
        return {
            **(settings or {}),
            "crop": mode,
            "window": None if window is None else list(window),
            "intensity": intensity,
            "mean": mean,
            "std": std,
            "share": round(share, 4),
            "network": inputs["network"],
            "cases": sorted(case["case"] for case in cases),
            "demonstration_only": demonstration_only,
        }

    return fit_once(path, inputs, compute)


def stop_unless_locating(crop: str, cases: Sequence[dict[str, str]]) -> None:
    """End a locator's training, with exit code 0 and the reason, if the segmenter will not use it.

    Args:
        crop: as in :func:`fit_window`.
        cases: the training cases.
    """
    if crop in ("label", "none"):
        reason = f"crop is {crop}"
    elif crop == "auto" and _share(cases) >= CUT_SHARE:
        reason = "the volumes are already cut to the structure (crop auto)"
    else:
        return
    logger.info("no locator is needed: %s. --crop locator trains one all the same", reason)
    raise SystemExit(0)


def stamp(path: str) -> list[int]:
    """Size in bytes and time in nanoseconds of a file: what tells other contents under the same name."""
    stat = Path(path).stat()
    return [stat.st_size, stat.st_mtime_ns]


def _architecture(network: nn.Module) -> str:
    """Fingerprint of how a network is built: the kinds of its layers in order, and what no weight shows."""
    layers = [(_kind(layer), getattr(layer, "dilation", None)) for layer in network.modules()]
    return hashlib.sha256(json.dumps(layers).encode()).hexdigest()[:16]


def _kind(layer: nn.Module) -> str:
    """Name of a layer's class; of torch's own where it computes one of them in another way."""
    kinds = [kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn.")]
    computed = not list(layer.children()) and kinds[0] is not nn.Module
    return (kinds[0] if computed else type(layer)).__name__


def _share(cases: Sequence[dict[str, str]]) -> float:
    """Share of the volume that the structure's bounding box fills, median over the cases."""
    shares = []
    load = load_on_grid(keys=["label"])
    for case in cases:
        label = load({"label": case["label"]})["label"][0]
        box = mask_box(label)
        shares.append(0.0 if box is None else float(np.prod(box.shape)) / label.numel())
    return float(np.median(shares))


def _statistics(
    cases: Sequence[dict[str, str]], load: Callable, boxes: dict[str, Box], window: tuple[int, ...] | None
) -> tuple[float, float]:
    """Mean and standard deviation (at least 1e-6) over the voxels of all crops; one volume in memory at a time."""
    total, squares, count = 0.0, 0.0, 0
    for case in cases:
        volume = load({"image": case["image"], "label": case["label"]})["image"][0]
        frame = tuple(volume.shape)
        region = Box.whole(frame) if window is None else centred_window(boxes[case["case"]], window, frame)
        voxels = np.asarray(volume, dtype=np.float64)[region.slices]
        total, squares, count = total + voxels.sum(), squares + np.square(voxels).sum(), count + voxels.size
    mean = total / count
    return float(mean), float(max(np.sqrt(max(squares / count - mean**2, 0.0)), 1e-6))
