"""Pictures of single cases: where prediction and reference differ most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.files import whole_file
from common.handlers.pictures import CasePictures, CaseView
from common.viewing.case_figure import draw_case

__all__ = ["PictureWriter"]


class PictureWriter(CasePictures):
    """Write ``pictures/<case>.png``: three planes of the image with the contours of reference and prediction.

    The planes meet in the middle of the thickest difference between prediction and reference; where there is none, or
    no reference, each goes through the prediction's largest area. Orientation is the patient's, to the nearest axes.

    Args:
        output_dir: the folder ``pictures`` in it is made if missing.
        max_cases: how many pictures to write at most; of several processes each writes its share.
        demonstration_only: say so in the picture, for weights trained on phantoms.
        window: intensities shown black and white, such as [-160, 240] HU; None: see :func:`draw_case`.
    """

    suffix = ".png"

    def __init__(
        self,
        output_dir: str | Path,
        *,
        max_cases: int = 20,
        demonstration_only: bool = False,
        window: Sequence[float] | None = None,
    ) -> None:
        super().__init__(Path(output_dir) / "pictures", max_cases=max_cases, demonstration_only=demonstration_only)
        self.window = window

    def write(self, view: CaseView, path: Path) -> None:
        """Write the picture of one case."""
        figure = draw_case(
            view.image,
            view.prediction,
            view.reference,
            affine=view.affine,
            title="\n".join(view.title),
            window=self.window,
        )
        with whole_file(path) as file:
            figure.savefig(file, format="png", dpi=110)
