"""A bundle at one size: networks, sizes and batches from its configs, and cases as large as the published ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from monai.transforms import LoadImage, Orientation
from torch import Tensor

from benchmarks.bundles import BUNDLES, inference_config, training_config
from common.datasets.layouts.registry import recognize
from common.files import files_of, whole_file
from common.phantoms import WRITERS
from common.phantoms.files import write_nifti, write_nrrd

# Ids that hold a size in voxels. The first that a train.json has is what its network is trained on.
SIZES = ("grid", "working_size", "patch")
ALSO_SIZES = ("coarse_grid", "roi_size")

# Overlays and values of bundles whose train.json alone is not the published input size, or whose batches of large
# volumes need a large GPU; then a batch is one case, on all sides.
PUBLISHED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "efficient_seg_net": ([], {"batch_size": 1}),
    "oss_net": ([], {"batch_size": 1}),
    "vnet_left_atrium": (["paper.json"], {"patch": [96, 144, 224], "batch_size": 1, "repeats": 1}),
    "vox2vox": ([], {"batch_size": 1}),
}

# A typical case of each layout, (X, Y, Z) voxels and mm. The liver's is the half-resolution copy of the description.
CASES = {
    "atria2018": ((576, 576, 88), (0.625, 0.625, 0.625)),
    "brats2020": ((240, 240, 155), (1.0, 1.0, 1.0)),
    "flare21": ((512, 512, 160), (0.8, 0.8, 2.5)),
    "task03_liver": ((256, 256, 200), (1.54, 1.54, 2.0)),
}
N_CASES = 4


@dataclass(frozen=True)
class Scenario:
    """A bundle at one size."""

    bundle: str
    scale: float  # of the published size of every side: of patches, grids and cases alike
    device: str  # "cpu" or "cuda"
    folder: str  # for phantoms, caches and outputs; the processes of a run share it
    quick: bool = False  # the configs' sample.json, and small phantoms: for a test

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        """Folder of what belongs to this bundle and size."""
        return Path(self.folder) / f"{self.bundle}_{self.scale:g}"

    @property
    def data(self) -> Path:
        """Folder of the cases, which bundles of one layout share."""
        return Path(self.folder) / f"{self._settings['layout']}_{self.scale:g}"

    @cached_property
    def formats(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What metadata.json says of the network's input and output."""
        formats = training_config(self.bundle)["_meta_"]["network_data_format"]
        return formats["inputs"]["image"], formats["outputs"]["pred"]

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the image, and classes of a softmax, background included."""
        image, pred = self.formats
        background = any("background" in text for text in pred["channel_def"].values())
        return image["num_channels"], pred["num_channels"] + (0 if background else 1)

    @property
    def size(self) -> list[int]:
        """Sides in voxels of what the network is trained on."""
        return next(self._settings[key] for key in SIZES if key in self._settings)

    @property
    def case_size(self) -> list[int]:
        """Sides of a case in voxels, (X, Y, Z); in quick runs those of the training."""
        case = None if self.quick else CASES.get(self._settings["layout"])
        return self.size if case is None else [round(self.scale * n) for n in case[0]]

    def cases(self) -> list[dict[str, Any]]:
        """The cases, with ``case``, ``image`` and ``label``."""
        return recognize(self.data, self._settings["layout"]).cases

    def training(self, **overrides: Any) -> ConfigParser:
        """The training config with ``overrides``, ready for its objects to be made."""
        cycles = -(-int(self._settings["batch_size"]) // N_CASES)  # enough cases for a batch
        split = f"$dict.fromkeys(('train', 'validate', 'test'), @cases * {cycles})"
        settings = {"cache_dir": str(self.work / "cache"), "split": split, **overrides}
        return self._ready(training_config(self.bundle, self._overlays), settings, crop="label")

    def inference(self, **overrides: Any) -> ConfigParser:
        """The inference config for the first case, with untrained weights and without handlers."""
        case = {key: value for key, value in self.cases()[0].items() if key != "label"}
        settings = {"cases": [case], "handlers": [], "num_workers": 0, **overrides}
        return self._ready(inference_config(self.bundle, self._overlays), settings, crop="locator")

    def write_cases(self) -> None:
        """Write the cases, where that is not done."""
        layout = self._settings["layout"]
        WRITERS[layout](str(self.data), N_CASES, 0)
        if not self.quick and layout in CASES:
            self._enlarge(CASES[layout][1])

    def prepare(self) -> None:
        """Write the cases and a batch of the training, and fill the cache, where that is not done."""
        self.write_cases()
        if not (self.work / "batch.pt").is_file():
            batches = iter(self.training(num_workers=0).get_parsed_content("train#dataloader"))
            batch = tensors(next(batches))
            for _ in batches:  # the others go through the cache
                pass
            with whole_file(self.work / "batch.pt") as file:
                torch.save(batch, file)

    def batch(self) -> dict[str, Tensor]:
        """A batch of the training, as its loader gives it."""
        return torch.load(self.work / "batch.pt", weights_only=True)

    @property
    def _overlays(self) -> list[str]:
        return ["sample.json"] if self.quick else PUBLISHED.get(self.bundle, ([], {}))[0]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Values by id: the sizes at this scale, and what the published size needs."""
        published = {} if self.quick else PUBLISHED.get(self.bundle, ([], {}))[1]
        parser = training_config(self.bundle, self._overlays)
        parser.update(published)
        config = parser.get()
        layout = config["layout"] if config["layout"] != "auto" else parser.get_parsed_content("plan")["layout"]
        settings = {"layout": layout, "batch_size": parser.get_parsed_content("batch_size"), **published}
        for key in (*SIZES, *ALSO_SIZES):
            size = parser.get_parsed_content(key) if key in config else None
            if isinstance(size, list) and min(size) > 0:
                settings[key] = self._scaled(size)
        if "low_shape" in config["network_def"] and self.scale != 1:  # OSS-Net's auxiliary segmentation
            size = next(settings[key] for key in SIZES if key in settings)
            cells = [n // step for n, (step, _) in zip(size, self._steps(), strict=True)]
            settings["network_def"] = {**config["network_def"], "low_shape": cells}
        return settings

    def _scaled(self, size: Sequence[int]) -> list[int]:
        """The least size of at least ``scale`` times its sides that the network takes."""
        if self.scale == 1:
            return list(size)
        steps = self._steps()
        return [max(low, math.ceil(self.scale * n / by) * by) for n, (by, low) in zip(size, steps, strict=True)]

    def _steps(self) -> list[tuple[int, int]]:
        """For each axis, of what a side must be a multiple, and the least one: ``16*(n+3)`` says 16 and 64."""
        pattern = r"(\d+)\s*\*\s*\(?\s*n\s*\+?\s*(\d*)\s*\)?"
        found = (re.fullmatch(pattern, text).groups() for text in self.formats[0]["spatial_shape"])
        return [(int(step), int(step) * (1 + int(more or 0))) for step, more in found]

    def _ready(self, parser: ConfigParser, settings: dict[str, Any], *, crop: str) -> ConfigParser:
        """A config with paths, sizes, settings and a plan, whose locators take their networks untrained."""
        values = {
            "bundle_root": str(BUNDLES / self.bundle),
            "dataset_dir": str(self.data),
            "ckpt_dir": str(self.work / "models"),
            "output_dir": str(self.work / "output"),
            "device": f"$torch.device('{self.device}')",
            "recorded": self._plan(crop),
            **self._settings,
            **settings,
        }
        config = parser.get()
        parser.update({key: value for key, value in values.items() if key in config})
        _without_weights(config)
        return parser

    def _plan(self, crop: str) -> dict[str, Any]:
        """What a training of these cases would have planned, without one."""
        parser = training_config(self.bundle, self._overlays)
        parser.update(self._settings)
        settings = parser.get_parsed_content("recorded#settings") if "settings" in parser["recorded"] else {}
        planned = {"crop": crop, "crop_size": self.size, "intensity": "cohort", "mean": 60.0, "std": 50.0}
        weights = [1.0] * self.channels[1]
        decisions = dict(parser.get_parsed_content("plan"))
        return {**decisions, **planned, "class_weights": weights, **settings, "cases": [], "demonstration_only": True}

    def _enlarge(self, spacing: Sequence[float]) -> None:
        """Replace the phantoms by the same ones with ``case_size`` voxels of ``spacing``, along RAS axes."""
        if (self.data / "enlarged").is_file():
            return
        load, turn = LoadImage(ensure_channel_first=True, dtype=None), Orientation("RAS", labels=None)
        affine = torch.diag(torch.tensor([*spacing, 1.0])).double().numpy()
        files = [(file, key) for case in self.cases() for key in ("image", "label") for file in files_of(case[key])]
        for file, key in files:
            volume = turn(load(file)).as_subclass(Tensor)  # (1, X, Y, Z)
            mode = "trilinear" if key == "image" else "nearest"
            large = F.interpolate(volume[None].float(), self.case_size, mode=mode)[0, 0]
            # MONAI's reader makes float32 of NRRD files; the phantoms' are of bytes
            write, dtype = (write_nrrd, torch.uint8) if file.endswith(".nrrd") else (write_nifti, volume.dtype)
            write(Path(file), large.to(dtype).numpy(), affine)
        (self.data / "enlarged").touch()


def tensors(batch: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors in a loader's batch, without their metadata."""
    return {key: value.as_subclass(Tensor) for key, value in batch.items() if isinstance(value, Tensor)}


def _without_weights(config: Any) -> None:
    """Let locators take their networks as they are."""
    if isinstance(config, dict) and config.get("_target_") == "common.inferers.Locator":
        config["weights"] = None
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        _without_weights(value)
