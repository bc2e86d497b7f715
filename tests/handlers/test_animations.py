"""Animations: the right slices, the right way round, in true proportion, in a small file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from common.handlers import AnimationWriter, CaseReport
from common.viewing.animation_frames import draw_frames
from common.viewing.case_figure import COLORS

SPACING = (1.0, 2.0, 4.0)
AFFINE = np.diag([*SPACING, 1.0])


def mask(*corner: int, size: tuple[int, int, int] = (8, 6, 5)) -> np.ndarray:
    """(60, 36, 20) in R, A, S order: 60 × 72 × 80 mm."""
    volume = np.zeros((60, 36, 20), np.int32)
    volume[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))] = 1
    return volume


def frames(prediction: np.ndarray, reference: np.ndarray | None = None, image: np.ndarray | None = None, **kwargs):
    """Pictures without a title as arrays (rows, columns, 3): black around the slice."""
    image = np.zeros(prediction.shape) if image is None else image
    pictures = draw_frames(image, prediction, reference, affine=AFFINE, title=[], **kwargs)
    return [np.asarray(picture.convert("RGB")) for picture in pictures]


def where(picture: np.ndarray, color: str) -> np.ndarray:
    """Pixels of a color in the slice, (n, 2) rows and columns; the legend's line is left out."""
    return np.argwhere((picture[:-17] == ImageColor.getrgb(color)).all(axis=-1))


def test_every_frame_shows_one_slice_from_the_feet_to_the_head():
    everything = np.ones((60, 36, 20), np.int32)
    image = np.broadcast_to(np.arange(20.0), (60, 36, 20))
    brightness = [picture[60:80, 150:170, 0].mean() for picture in frames(everything, image=image, window=[0, 19])]
    assert len(brightness) == 20
    assert brightness == sorted(brightness)
    assert (brightness[0], brightness[-1]) == (0, 255)


def test_more_slices_than_frames_are_thinned_out_evenly_and_the_ends_kept():
    everything = np.ones((60, 36, 20), np.int32)
    image = np.broadcast_to(np.arange(20.0), (60, 36, 20))
    shown = [p[60:80, 150:170, 0].mean() for p in frames(everything, image=image, window=[0, 19], max_frames=3)]
    assert (len(shown), shown[0], shown[-1]) == (3, 0, 255)
    assert shown[1] == pytest.approx(255 / 2, abs=10)


def test_the_patients_right_is_on_the_left_and_the_front_on_top():
    image = np.zeros((60, 36, 20))
    image[50:58, 28:34] = 1.0  # right, in front
    picture = frames(np.ones((60, 36, 20), np.int32), image=image, window=[0, 1])[10]
    rows, columns = where(picture, "white").T
    bright = (rows < picture.shape[0] // 2) & (columns < picture.shape[1] // 2)
    assert bright.sum() > 500
    assert not where(picture[: picture.shape[0] // 2, picture.shape[1] // 2 :], "white").size


def test_contours_have_the_proportions_of_the_patient():
    rows, columns = where(frames(mask(20, 10, 8, size=(12, 12, 5)))[7], COLORS["prediction"]).T
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(24 / 12, rel=0.05)  # mm


def test_only_slices_that_hold_the_structure_have_its_contour():
    drawn = [where(p, COLORS["prediction"]).size > 0 for p in frames(mask(20, 10, 8))]
    assert drawn == [False] * 5 + [True] * 5 + [False] * 5  # 5 slices of 4 mm are the margin of 20 mm


def test_reference_and_prediction_are_told_apart_by_color():
    picture = frames(mask(10, 10, 8), mask(30, 10, 8))[7]
    predicted, true = (where(picture, COLORS[name]) for name in ("prediction", "reference"))
    assert predicted[:, 1].min() > true[:, 1].max()  # the larger x, the further to the left


def test_contours_that_coincide_alternate():
    picture = frames(mask(20, 10, 8), mask(20, 10, 8))[7]
    predicted, true = (len(where(picture, COLORS[name])) for name in ("prediction", "reference"))
    assert predicted == pytest.approx(true, rel=0.2)


def test_a_tumor_in_an_organ_has_its_own_contour():
    organ = mask(10, 6, 8, size=(30, 20, 5))
    with_tumor = organ.copy()
    with_tumor[20:30, 12:20, 8:13] = 2
    outer, both = (len(where(frames(m)[7], COLORS["prediction"])) for m in (organ, with_tumor))
    assert both / outer == pytest.approx(1 + (10 + 16) / (30 + 40), rel=0.1)  # by the rectangles' half perimeters, mm


def test_an_empty_case_can_be_drawn():
    assert len(frames(mask(0, 0, 0, size=(0, 0, 0)))) == 20


def test_noise_on_a_large_grid_stays_below_two_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    prediction = np.ones((120, 110, 60), np.int32)
    first, *others = draw_frames(
        rng.standard_normal(prediction.shape), prediction, prediction, affine=np.eye(4), title=["noise"]
    )
    first.save(tmp_path / "noise.gif", save_all=True, append_images=others)
    assert (tmp_path / "noise.gif").stat().st_size < 2e6


def test_an_evaluation_writes_an_animation_per_case_with_a_frame_per_slice(tmp_path, write, cuboid, evaluate):
    report = CaseReport(tmp_path / "out", labels={"organ": 1}, label_values=[0, 1, 255], reference_labels={"255": 1})
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((7, 5, 4)))], report, AnimationWriter(tmp_path / "out"))
    with Image.open(tmp_path / "out/animations/a.gif") as animation:
        assert (animation.n_frames, animation.info["loop"]) == (12, 0)
        animation.seek(6)
        colors = {tuple(c) for c in np.asarray(animation.convert("RGB")).reshape(-1, 3)}
    assert {ImageColor.getrgb(color) for color in COLORS.values()} <= colors


def test_no_more_animations_are_written_than_asked_for(tmp_path, write, cuboid, evaluate):
    cases = [write(case, cuboid((5, 5, 4)), None) for case in "abc"]
    evaluate(cases, AnimationWriter(tmp_path, max_cases=2))
    assert sorted(p.name for p in (tmp_path / "animations").iterdir()) == ["a.gif", "b.gif"]
