"""What a bundle is measured on, read from its configs: networks, sizes, and cases as large as the published ones."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch import Tensor

from common.datasets.layouts.registry import LAYOUTS
from common.files import files_of, whole_file
from common.inferers import Locator
from common.phantoms import WRITERS
from common.phantoms.files import write_nifti, write_nrrd
from tools.overlays import for_inference
from tools.pipeline import BUNDLES

# Ids that hold a size in voxels. The first that a train.json has is what its network is trained on.
SIZES = ("grid", "working_size", "patch")
ALSO_SIZES = ("coarse_grid", "roi_size")

# Overlays and values of bundles whose train.json alone is not the published input size, or has batches of large volumes
# that a machine without a large GPU does not hold; then a batch is one case, on all sides.
PUBLISHED = {
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
    """A bundle at one size.

    Args:
        bundle: name of a folder in bundles/.
        share: of the published size of every side: of patches, grids and cases alike.
        device: ``"cpu"`` or ``"cuda"``.
        folder: for phantoms, caches and whatever the configs write; shared by the processes of a run.
        quick: the configs' sample.json, and phantoms as they are: for a test.
    """

    bundle: str
    share: float
    device: str
    folder: str
    quick: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The arguments, for another process."""
        return asdict(self)

    @property
    def configs(self) -> Path:
        """The bundle's configs/ folder."""
        return BUNDLES / self.bundle / "configs"

    @property
    def work(self) -> Path:
        """Folder of what belongs to this bundle and size."""
        return Path(self.folder) / f"{self.bundle}_{self.share:g}"

    @property
    def data(self) -> Path:
        """Folder of the cases, which bundles of one layout share."""
        return Path(self.folder) / f"{self._settled['layout']}_{self.share:g}"

    @property
    def batch_file(self) -> Path:
        """A batch of the training, as its loader gives it."""
        return self.work / "batch.pt"

    @cached_property
    def formats(self) -> tuple[dict, dict]:
        """What metadata.json says of the network's input and output."""
        formats = json.loads((self.configs / "metadata.json").read_text())["network_data_format"]
        return formats["inputs"]["image"], formats["outputs"]["pred"]

    @property
    def channels(self) -> tuple[int, int]:
        """Of the network's input; and how many classes a softmax would tell apart, the background among them."""
        image, pred = self.formats
        background = any("background" in text for text in pred["channel_def"].values())
        return image["num_channels"], pred["num_channels"] + (0 if background else 1)

    @property
    def size(self) -> list[int]:
        """Sides in voxels of what the network is trained on."""
        return next(self._settled[key] for key in SIZES if key in self._settled)

    @property
    def case_size(self) -> list[int]:
        """Sides of a case in voxels, (X, Y, Z); of quick runs, which say nothing, those of the training."""
        layout = self._settled["layout"]
        known = not self.quick and layout in CASES
        return [round(self.share * n) for n in CASES[layout][0]] if known else self.size

    def cases(self) -> list[dict[str, Any]]:
        """The cases, with ``case``, ``image`` and ``label``."""
        return LAYOUTS[self._settled["layout"]](str(self.data))

    def training(self, **overrides: Any) -> ConfigParser:
        """The training config, ready for its objects to be made.

        Args:
            overrides: values by id, which win.
        """
        cycles = -(-int(self._settled["batch_size"]) // N_CASES)  # enough cases for a batch
        settings = {**self._settled, "cache_dir": str(self.work / "cache"), "layout": self._settled["layout"]}
        settings["split"] = f"$dict.fromkeys(('train', 'validate', 'test'), @cases * {cycles})"
        return self._parser(["train.json", *self._overlays], {**settings, **overrides}, crop="label")

    def inference(self, **overrides: Any) -> ConfigParser:
        """The inference config, for the first case, with untrained weights and without handlers."""
        case = {key: value for key, value in self.cases()[0].items() if key != "label"}
        taken = for_inference(self.configs, self._overlays)
        settings = {**taken, **self._settled, "cases": [case], "handlers": [], "num_workers": 0}
        known = json.loads((self.configs / "inference.json").read_text())
        settings = {key: value for key, value in settings.items() if key in known or "#" in key}
        return self._parser(["inference.json"], {**settings, **overrides}, crop="locator")

    def prepare(self) -> None:
        """Write the cases and a batch of the training, and fill the cache, where that is not done."""
        layout = self._settled["layout"]
        WRITERS[layout](str(self.data), N_CASES, 0)
        if not self.quick and layout in CASES:
            _enlarge(self, CASES[layout][1])
        if not self.batch_file.is_file():
            batches = iter(self.training(num_workers=0).get_parsed_content("train#dataloader"))
            batch = tensors(next(batches))
            for _ in batches:  # the others go through the cache
                pass
            with whole_file(self.batch_file) as file:
                torch.save(batch, file)

    @property
    def _overlays(self) -> list[str]:
        return ["sample.json"] if self.quick else PUBLISHED.get(self.bundle, ([], {}))[0]

    @cached_property
    def _settled(self) -> dict[str, Any]:
        """Ids of sizes, at this size, and what does not depend on it."""
        parser = ConfigParser()
        parser.read_config([str(self.configs / name) for name in ("train.json", *self._overlays)])
        published = {} if self.quick else PUBLISHED.get(self.bundle, ([], {}))[1]
        config = {**parser.get(), **published}
        ids = [key for key in (*SIZES, *ALSO_SIZES) if isinstance(config.get(key), list) and min(config[key]) > 0]
        settled = {"layout": config["layout"], "batch_size": config["batch_size"], **published}
        settled |= {key: self._scaled(config[key]) for key in ids}
        if "low_shape" in config["network_def"] and self.share != 1:  # OSS-Net's auxiliary segmentation
            size = next(settled[key] for key in SIZES if key in settled)
            cells = [n // step for n, (step, _) in zip(size, self._steps(), strict=True)]
            settled["network_def"] = {**config["network_def"], "low_shape": cells}
        return settled

    def _scaled(self, size: Sequence[int]) -> list[int]:
        """A size of at least this share of its sides, one that the network takes."""
        if self.share == 1:
            return list(size)
        return [
            max(least, math.ceil(self.share * n / step) * step)
            for n, (step, least) in zip(size, self._steps(), strict=True)
        ]

    def _steps(self) -> list[tuple[int, int]]:
        """For each axis, of what a side must be a multiple, and the least one: ``16*(n+3)`` says 16 and 64."""
        steps = []
        for text in self.formats[0]["spatial_shape"]:
            step, more = re.fullmatch(r"(\d+)\s*\*\s*\(?\s*n\s*\+?\s*(\d*)\s*\)?", text).groups()
            steps.append((int(step), int(step) * (1 + int(more or 0))))
        return steps

    def _parser(self, files: Sequence[str], settings: dict[str, Any], *, crop: str) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([str(self.configs / name) for name in files])
        parser.read_meta(str(self.configs / "metadata.json"))
        paths = {
            "bundle_root": str(self.configs.parent),
            "dataset_dir": str(self.data),
            "ckpt_dir": str(self.work / "models"),
            "output_dir": str(self.work / "output"),
        }
        device = {"device": f"$torch.device('{self.device}')", "plan": self._plan(crop)}
        config = parser.get()
        parser.update({k: v for k, v in {**paths, **device, **settings}.items() if re.split("#|::", k)[0] in config})
        _without_weights(parser.get())
        return parser

    def _plan(self, crop: str) -> dict[str, Any]:
        """What a training of these cases would have noted, without one."""
        parser = ConfigParser()
        parser.read_config([str(self.configs / name) for name in ("train.json", *self._overlays)])
        parser.update({**self._settled})
        noted = parser.get_parsed_content("plan#settings") if "settings" in parser["plan"] else {}
        planned = {"crop": crop, "crop_size": self.size, "intensity": "cohort", "mean": 60.0, "std": 50.0}
        planned["class_weights"] = [1.0] * self.channels[1]
        return {**planned, **noted, "cases": [], "demonstration_only": True}


def tensors(batch: dict[str, Any]) -> dict[str, Tensor]:
    """What is a tensor in a loader's batch, without its metadata."""
    return {key: value.as_subclass(Tensor) for key, value in batch.items() if isinstance(value, Tensor)}


def _without_weights(config: Any) -> None:
    """Locators take their network as it is."""
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        if isinstance(value, dict) and str(value.get("_target_", "")).endswith(f".{Locator.__name__}"):
            value["weights"] = None
        _without_weights(value)


def _enlarge(scenario: Scenario, spacing: Sequence[float]) -> None:
    """Replace the phantoms by the same ones with ``case_size`` voxels of ``spacing``, along RAS axes."""
    from monai.transforms import LoadImage, Orientation

    done = scenario.data / "enlarged"
    if done.is_file():
        return
    load, turn = LoadImage(ensure_channel_first=True, dtype=None), Orientation("RAS", labels=None)
    target = scenario.case_size
    affine = torch.diag(torch.tensor([*spacing, 1.0])).double().numpy()
    for case in scenario.cases():
        for key, mode in (("image", "trilinear"), ("label", "nearest")):
            for file in files_of(case[key]):
                volume = turn(load(file))  # (1, X, Y, Z)
                large = F.interpolate(volume.as_subclass(Tensor)[None].float(), target, mode=mode)[0, 0]
                # MONAI's reader makes float32 of NRRD files; the phantoms' are of bytes
                write, dtype = (write_nrrd, torch.uint8) if file.endswith(".nrrd") else (write_nifti, volume.dtype)
                write(Path(file), large.to(dtype).numpy(), affine)
    done.touch()
