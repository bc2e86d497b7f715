"""Pictures of single cases: where prediction and reference differ most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import Evaluator, IterationEvents
from monai.transforms import LoadImage, Orientation

from common.files import whole_file
from common.handlers.overlay_figure import draw_case
from common.transforms import VolumeReader

__all__ = ["OverlayWriter"]


class OverlayWriter:
    """Write ``overlays/<case>.png``: three planes of the image with the contours of reference and prediction.

    It works on decollated, postprocessed items: ``pred`` is a label map (1, X, Y, Z) on the original grid, with its
    affine; the image is reloaded from its file. After :class:`~common.handlers.CaseReport` in the list of handlers it
    finds the reference and the metrics in the output; without it only the prediction is drawn.

    The planes meet in the middle of the thickest difference between prediction and reference; where there is none, or
    no reference, each goes through the prediction's largest area. Orientation is the patient's, to the nearest axes.

    Args:
        output_dir: the folder ``overlays`` in it is made if missing.
        max_cases: how many pictures each process writes at most.
        demonstration_only: say so in the picture, for weights trained on phantoms.
    """

    def __init__(self, output_dir: str | Path, *, max_cases: int = 20, demonstration_only: bool = False) -> None:
        self.output_dir = Path(output_dir) / "overlays"
        self.max_cases = max_cases
        self.demonstration_only = demonstration_only
        self._written = 0

    def attach(self, engine: Evaluator) -> None:
        """Draw after postprocessing, and start counting afresh with every run."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def _start(self, engine: Engine) -> None:
        self._written = 0

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self._written < self.max_cases:
                self._draw(str(item["case"]), item["image"].meta["filename_or_obj"], output)
                self._written += 1

    def _draw(self, case: str, path: str, output: dict[str, Any]) -> None:
        load = LoadImage(image_only=True, ensure_channel_first=True)
        load.register(VolumeReader())
        image = load(path)[:1]
        if image.shape != output["pred"].shape:
            raise ValueError(
                f"{case}: the prediction's shape {tuple(output['pred'].shape)} is not that of {path}, "
                f"{tuple(image.shape)}: bring it back to the original grid (Invertd)"
            )
        to_patient = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
        volumes = [to_patient(_on_grid(output[k], image)) for k in ("pred", "reference") if k in output]
        image = to_patient(image)
        prediction, *others = [v[0].cpu().numpy().astype(np.int32) for v in volumes]
        reference = others[0] if others else None
        title = [case] + [_scores(row) for row in output.get("metrics", [])]
        if self.demonstration_only:
            title.append("weights trained on phantoms: demonstration only")
        figure = draw_case(
            image[0].cpu().numpy(),
            prediction,
            reference,
            affine=image.affine.cpu().numpy(),
            title="\n".join(title),
        )
        with whole_file(self.output_dir / f"{case}.png") as file:
            figure.savefig(file, format="png", dpi=110)


def _on_grid(labels: torch.Tensor, image: MetaTensor) -> MetaTensor:
    """A label map (1, X, Y, Z) with the affine of the image it was made from."""
    return MetaTensor(torch.Tensor.as_subclass(labels.detach().cpu(), torch.Tensor), affine=image.affine)


def _scores(row: dict[str, Any]) -> str:
    distance = "one of the two is empty" if row["missed"] else f"HD95 {row['hd95_mm']:.1f} mm"
    return f"{row['structure']}: Dice {row['dice']:.3f}, {distance}"
