"""What the pictures of single cases have in common: the image as it is stored, turned to the patient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import Evaluator, IterationEvents
from monai.transforms import LoadImage, Orientation

from common.files import is_file_name, printable
from common.handlers.reporting import report_alone
from common.transforms import register_readers

__all__ = ["CasePictures", "CaseView"]


@dataclass(frozen=True)
class CaseView:
    """A case to draw.

    Attributes:
        case: its name.
        image: (X, Y, Z) in R, A, S order: to the nearest axes, the first runs to the patient's right.
        prediction: label map of the same shape.
        reference: label map of the same shape, or None.
        affine: (4, 4), voxel to mm, of all three.
        title: lines of text: the name, scores where there are any, and a warning.
    """

    case: str
    image: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray | None
    affine: np.ndarray
    title: tuple[str, ...]


class CasePictures(ABC):
    """A handler that draws the first cases of a MONAI evaluator.

    It works on decollated, postprocessed items: ``pred`` is a label map (1, X, Y, Z) on the original grid, with its
    affine; the image is reloaded from its file. After :class:`~common.handlers.CaseReport` in the list of handlers it
    finds the reference and the metrics in the output; without it only the prediction is drawn.

    Args:
        output_dir: folder of the pictures, made if missing.
        max_cases: how many pictures to write at most; of several processes each writes its share.
        demonstration_only: say so in the picture, for weights trained on phantoms.
    """

    suffix: ClassVar[str]

    def __init__(self, output_dir: Path, *, max_cases: int, demonstration_only: bool) -> None:
        self.output_dir = output_dir
        self.max_cases = max_cases
        self.demonstration_only = demonstration_only
        self._written = 0

    def attach(self, engine: Evaluator) -> None:
        """Draw after postprocessing, and start counting afresh with every run."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    @abstractmethod
    def write(self, view: CaseView, path: Path) -> None:
        """Write the picture of one case; ``path`` ends with ``suffix``."""

    def _start(self, engine: Engine) -> None:
        self._written = 0

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self._written < len(range(idist.get_rank(), self.max_cases, idist.get_world_size())):
                path = self.output_dir / f"{item['case']}{self.suffix}"
                with report_alone(engine, path):
                    if not is_file_name(item["case"]):
                        raise ValueError(f"case {item['case']!r} is no name of a file")
                    self.write(self._view(str(item["case"]), item["image"].meta["filename_or_obj"], output), path)
                self._written += 1

    def _view(self, case: str, path: str, output: dict[str, Any]) -> CaseView:
        load = register_readers(LoadImage(image_only=True, ensure_channel_first=True))
        image = load(path)[:1]
        if image.shape != output["pred"].shape:
            raise ValueError(
                f"{case}: the prediction's shape {tuple(output['pred'].shape)} is not that of {path}, "
                f"{tuple(image.shape)}: bring it back to the original grid (LabelsOnOriginalGridd)"
            )
        to_patient = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
        volumes = [to_patient(_on_grid(output[k], image)) for k in ("pred", "reference") if k in output]
        image = to_patient(image)
        prediction, *others = [v[0].cpu().numpy().astype(np.int32) for v in volumes]
        title = [printable(case)] + [_scores(row) for row in output.get("metrics", [])]
        if self.demonstration_only:
            title.append("weights trained on phantoms: demonstration only")
        return CaseView(
            case=case,
            image=image[0].cpu().numpy(),
            prediction=prediction,
            reference=others[0] if others else None,
            affine=image.affine.cpu().numpy(),
            title=tuple(title),
        )


def _on_grid(labels: torch.Tensor, image: MetaTensor) -> MetaTensor:
    """A label map (1, X, Y, Z) with the affine of the image it was made from."""
    return MetaTensor(torch.Tensor.as_subclass(labels.detach().cpu(), torch.Tensor), affine=image.affine)


def _scores(row: dict[str, Any]) -> str:
    distance = "one of the two is empty" if row["missed"] else f"HD95 {row['hd95_mm']:.1f} mm"
    return f"{row['structure']}: Dice {row['dice']:.3f}, {distance}"
