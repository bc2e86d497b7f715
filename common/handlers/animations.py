"""Animations of single cases: slice by slice through what was segmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.files import whole_file
from common.handlers.pictures import CasePictures, CaseView
from common.viewing.animation_frames import draw_frames

__all__ = ["AnimationWriter"]

MILLISECONDS = 120  # a frame


class AnimationWriter(CasePictures):
    """Write ``animations/<case>.gif``: axial slices with the contours of reference and prediction, without end.

    Orientation is the patient's, to the nearest axes; see :func:`draw_frames`.

    Args:
        output_dir: the folder ``animations`` in it is made if missing.
        max_cases: how many to write at most; of several processes each writes its share.
        demonstration_only: say so in the picture, for weights trained on phantoms.
        window: intensities shown black and white, such as [-160, 240] HU; None: the 0.5th and 99.5th percentiles of
            what is shown.
        max_frames: how many slices to show at most.
    """

    suffix = ".gif"

    def __init__(
        self,
        output_dir: str | Path,
        *,
        max_cases: int = 5,
        demonstration_only: bool = False,
        window: Sequence[float] | None = None,
        max_frames: int = 50,
    ) -> None:
        super().__init__(Path(output_dir) / "animations", max_cases=max_cases, demonstration_only=demonstration_only)
        self.window = window
        self.max_frames = max_frames

    def write(self, view: CaseView, path: Path) -> None:
        """Write the animation of one case."""
        first, *others = draw_frames(
            view.image,
            view.prediction,
            view.reference,
            affine=view.affine,
            title=view.title,
            window=self.window,
            max_frames=self.max_frames,
        )
        with whole_file(path) as file:
            first.save(file, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0)
