"""Overlay pictures: the right planes, the right way round, in true proportion."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.image import imread

from common.handlers import CaseReport, PictureWriter
from common.viewing.case_figure import COLORS, draw_case

SPACING = (1.0, 2.0, 4.0)


def picture(prediction: np.ndarray, reference: np.ndarray | None = None, image: np.ndarray | None = None):
    """The figure, and its panels by plane."""
    image = np.zeros(prediction.shape) if image is None else image
    figure = draw_case(image, prediction, reference, affine=np.diag([*SPACING, 1.0]), title="case a")
    return figure, {panel.get_title().split(",")[0]: panel for panel in figure.axes}


def mask(*corner: int, size: tuple[int, int, int] = (5, 5, 5)) -> np.ndarray:
    """(30, 24, 20) in R, A, S order."""
    volume = np.zeros((30, 24, 20), np.uint8)
    volume[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))] = 1
    return volume


def test_the_planes_meet_in_the_thickest_difference():
    reference = mask(4, 4, 4)
    prediction = reference.copy()
    prediction[4:9, 4:9, 9] = 1  # one slice too many,
    prediction[19:26, 11:18, 9:16] = 1  # and a lump elsewhere, whose middle is (22, 14, 12)
    _, panels = picture(prediction, reference)
    positions = {name: float(panel.get_title().split("=")[1].split()[0]) for name, panel in panels.items()}
    assert positions == {"sagittal": 22 * 1.0, "coronal": 14 * 2.0, "axial": 12 * 4.0}


def test_without_a_reference_every_plane_shows_the_largest_area():
    prediction = mask(4, 4, 4)
    prediction[2:12, 5, 6] = 1  # makes R-A planes largest at z = 6, R-S planes at y = 5, and leaves x open
    _, panels = picture(prediction)
    assert [panels[name].get_title() for name in ("axial", "coronal")] == ["axial, S = 24.0 mm", "coronal, A = 10.0 mm"]


@pytest.mark.parametrize(
    ("plane", "corner"),
    [("axial", (29, 23, 10)), ("coronal", (29, 12, 19)), ("sagittal", (15, 23, 19))],
)
def test_right_and_anterior_are_on_the_left_and_anterior_and_superior_on_top(plane, corner):
    image = np.zeros((30, 24, 20))
    image[corner] = 1.0
    everything = np.ones(image.shape, np.uint8)
    everything[14:17, 11:14, 9:12] = 0  # the difference from the reference, with its middle in (15, 12, 10)
    _, panels = picture(everything, np.ones_like(everything), image)
    shown = panels[plane].images[0]
    assert shown.origin == "lower"
    assert np.unravel_index(shown.get_array().argmax(), shown.get_array().shape) == (shown.get_array().shape[0] - 1, 0)


def test_pixels_have_the_proportions_of_the_voxels():
    _, panels = picture(np.ones((30, 24, 20), np.uint8))
    assert tuple(panels["coronal"].images[0].get_extent()) == (0, 30 * 1.0, 0, 20 * 4.0)
    assert panels["coronal"].get_aspect() == 1.0


def test_the_window_runs_from_the_half_to_the_ninety_nine_and_a_half_percentile():
    image = np.linspace(0, 1000, 30 * 24 * 20).reshape(30, 24, 20)
    _, panels = picture(np.ones((30, 24, 20), np.uint8), image=image)
    assert panels["axial"].images[0].get_clim() == pytest.approx((5.0, 995.0))


def test_contours_lie_on_the_voxels_borders():
    _, panels = picture(mask(10, 8, 6))
    (contour,) = panels["axial"].collections
    x, y = contour.get_paths()[0].vertices.T
    assert (y.min(), y.max()) == (8 * 2.0, 13 * 2.0)  # all of the image is within the margin
    assert (x.min(), x.max()) == (30 - 15, 30 - 10)  # mirrored: from the patient's right


def test_reference_and_prediction_have_their_colors_in_the_legend():
    figure, _ = picture(mask(4, 4, 4), mask(5, 4, 4))
    legend = figure.legends[0]
    shown = {text.get_text(): line.get_color() for text, line in zip(legend.texts, legend.legend_handles, strict=True)}
    assert shown == COLORS
    assert to_rgba(COLORS["reference"]) != to_rgba(COLORS["prediction"])


def test_the_scale_bar_is_as_long_as_it_says():
    _, panels = picture(mask(4, 4, 4))
    x, _ = panels["axial"].lines[0].get_data()  # at most a third of the 29 mm shown
    assert "5 mm" in [text.get_text() for text in panels["axial"].texts]
    assert x[1] - x[0] == pytest.approx(5.0)


def test_a_case_with_nothing_in_it_can_be_drawn():
    nothing = np.zeros((30, 24, 20), np.uint8)
    figure, _ = picture(nothing, nothing)
    assert len(figure.axes) == 3


def test_an_evaluation_writes_one_picture_per_case(tmp_path, write, cuboid, evaluate):
    report = CaseReport(tmp_path / "out", labels={"organ": 1}, label_values=[0, 1, 255], reference_labels={"255": 1})
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((7, 5, 4)))], report, PictureWriter(tmp_path / "out"))
    picture = imread(tmp_path / "out/pictures/a.png")[..., :3]
    for color in COLORS.values():
        assert (np.abs(picture - to_rgba(color)[:3]).max(axis=-1) < 0.02).any()


def test_an_evaluation_says_the_dice_in_the_title(tmp_path, write, cuboid, evaluate, monkeypatch):
    titles = []
    monkeypatch.setattr(
        "common.handlers.case_pictures.draw_case",
        lambda *a, title, **k: titles.append(title) or draw_case(*a, title=title, **k),
    )
    report = CaseReport(tmp_path / "out", labels={"organ": 1}, label_values=[0, 1, 255], reference_labels={"255": 1})
    evaluate(
        [write("a", cuboid((5, 5, 4)), cuboid((8, 5, 4)))], report, PictureWriter(tmp_path, demonstration_only=True)
    )
    case, scores, warning = titles[0].split("\n")
    assert (case, scores) == ("a", "organ: Dice 0.500, HD95 2.4 mm")  # three columns of 0.8 mm
    assert "demonstration only" in warning


def test_a_prediction_without_a_reference_is_drawn_too(tmp_path, write, cuboid, evaluate):
    evaluate([write("a", cuboid((5, 5, 4)), None)], PictureWriter(tmp_path))
    assert (tmp_path / "pictures/a.png").is_file()


def test_no_more_pictures_are_written_than_asked_for(tmp_path, write, cuboid, evaluate):
    cases = [write(case, cuboid((5, 5, 4)), None) for case in "abc"]
    evaluate(cases, PictureWriter(tmp_path, max_cases=2))
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["a.png", "b.png"]


def test_a_window_sets_what_is_black_and_what_is_white():
    nothing = np.zeros((30, 24, 20), np.uint8)
    figure = draw_case(nothing, nothing, None, affine=np.eye(4), title="case a", window=[-160, 240])
    assert {panel.images[0].get_clim() for panel in figure.axes} == {(-160.0, 240.0)}
