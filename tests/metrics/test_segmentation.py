"""Metrics of one case, against surface-distance and against shapes worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.metrics import case_metrics

ANISOTROPIC = (2.5, 0.7, 1.1)


def ellipsoid(shape, center, radii) -> np.ndarray:
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((x - c) / r) ** 2 for x, c, r in zip(grid, center, radii, strict=True)) <= 1


def box(shape, start, size) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def metrics(prediction, reference, *, spacing=(1.0, 1.0, 1.0), **kwargs) -> dict:
    """The row of label 1."""
    args = [a.astype(np.uint8) for a in (prediction, reference)]
    return case_metrics(*args, spacing=spacing, labels={"organ": 1}, **kwargs)[0]


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two lumpy masks, with islands, holes and parts that touch the volume's border."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field, other = (gaussian_filter(rng.standard_normal((18, 30, 26)), (1, 3, 2)) for _ in range(2))
    return field > 0.02, field + 0.3 * other > 0.02


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), ANISOTROPIC])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_surface_metrics_equal_those_of_the_surface_distance_package(seed, spacing):
    oracle = pytest.importorskip("surface_distance")
    prediction, reference = blobs(seed)
    # the oracle crops so tightly that a mask at the array's border loses surface there: give it a margin
    surfaces = oracle.compute_surface_distances(np.pad(reference, 2), np.pad(prediction, 2), spacing)
    to_prediction, to_reference = oracle.compute_average_surface_distance(surfaces)
    weights = surfaces["surfel_areas_gt"].sum(), surfaces["surfel_areas_pred"].sum()
    row = metrics(prediction, reference, spacing=spacing, tolerance_mm=1.0)
    assert row["hd_mm"] == pytest.approx(oracle.compute_robust_hausdorff(surfaces, 100), rel=1e-5)
    assert row["hd95_mm"] == pytest.approx(oracle.compute_robust_hausdorff(surfaces, 95), rel=1e-5)
    assert row["nsd"] == pytest.approx(oracle.compute_surface_dice_at_tolerance(surfaces, 1.0), rel=1e-5)
    assert row["assd_mm"] == pytest.approx(np.average([to_prediction, to_reference], weights=weights), rel=1e-5)
    assert row["dice"] == pytest.approx(oracle.compute_dice_coefficient(reference, prediction))


@pytest.mark.parametrize("axis", range(3))
def test_a_shifted_cube_is_as_far_away_as_it_was_shifted(axis):
    shape, size = (24, 24, 24), (10, 10, 10)
    start = [5, 5, 5]
    reference = box(shape, start, size)
    start[axis] += 3
    row = metrics(box(shape, start, size), reference, spacing=ANISOTROPIC)
    shift = 3 * ANISOTROPIC[axis]
    assert row["hd_mm"] == pytest.approx(shift, rel=1e-5)  # the face left behind lies the whole shift away
    assert row["dice"] == pytest.approx(0.7)  # 7 of 10 layers in common: 2 * 7 / (10 + 10)
    assert row["iou"] == pytest.approx(7 / 13)


def test_the_95th_percentile_leaves_out_a_spike_that_the_hausdorff_distance_sees():
    reference = box((40, 40, 40), (5, 5, 5), (20, 20, 20))
    prediction = reference | box((40, 40, 40), (25, 15, 15), (10, 1, 1))
    row = metrics(prediction, reference, spacing=(0.5, 1.0, 1.0))
    assert row["hd_mm"] == pytest.approx(5.0)  # ten voxels of 0.5 mm
    assert row["hd95_mm"] == 0.0


def test_slabs_two_voxels_apart_have_the_average_distance_of_their_faces():
    shape = (30, 200, 200)  # so wide that the rims hardly count: (10 mm of 200 mm) on each side
    thin, thick = box(shape, (10, 0, 0), (5, 200, 200)), box(shape, (10, 0, 0), (7, 200, 200))
    row = metrics(thick, thin, spacing=(1.5, 1.0, 1.0))
    assert row["assd_mm"] == pytest.approx(1.5, rel=0.08)  # one face of each agrees, the other is 3 mm away


# 15 and 18 mm thick: of 92,000 + 94,400 mm² all but the moved face (40,000 mm² each) and its new rim (2,400 mm²) agree
@pytest.mark.parametrize(("tolerance", "nsd"), [(2.9, 104_000 / 186_400), (3.0, 1.0)])
def test_surface_dice_counts_distances_up_to_and_including_the_tolerance(tolerance, nsd):
    shape = (30, 200, 200)
    thin, thick = box(shape, (10, 0, 0), (5, 200, 200)), box(shape, (10, 0, 0), (6, 200, 200))
    row = metrics(thick, thin, spacing=(3.0, 1.0, 1.0), tolerance_mm=tolerance)
    assert row["nsd"] == pytest.approx(nsd, abs=0.03)


def test_the_volume_of_a_sphere_is_that_of_the_formula():
    radius, spacing = 14.0, (2.0, 0.5, 1.0)
    shape = [int(40 / s) for s in spacing]
    sphere = ellipsoid(shape, [n / 2 for n in shape], [radius / s for s in spacing])
    row = metrics(sphere, np.zeros_like(sphere), spacing=spacing)
    assert row["volume_prediction_mm3"] == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    assert row["volume_difference_mm3"] == row["volume_prediction_mm3"]


def test_concentric_spheres_are_as_far_apart_as_their_radii_to_half_a_voxel():
    spacing = (1.0, 0.5, 0.5)
    shape = [int(50 / s) for s in spacing]
    center = [n / 2 for n in shape]
    large, small = (ellipsoid(shape, center, [r / s for s in spacing]) for r in (20.0, 16.0))
    row = metrics(large, small, spacing=spacing, tolerance_mm=1.0)
    assert row["assd_mm"] == pytest.approx(4.0, abs=0.5)
    assert row["nsd"] == 0.0
    assert row["precision"] == pytest.approx((16 / 20) ** 3, rel=0.02)
    assert row["recall"] == 1.0


def test_two_empty_masks_agree_perfectly():
    empty = np.zeros((5, 6, 7), bool)
    row = metrics(empty, empty)
    assert [row[k] for k in ("dice", "iou", "precision", "recall", "nsd")] == [1.0] * 5
    assert [row[k] for k in ("hd_mm", "hd95_mm", "assd_mm")] == [0.0] * 3
    assert row["missed"] is False


@pytest.mark.parametrize("empty", ["prediction", "reference"])
def test_one_empty_mask_is_missed_with_infinite_distances(empty):
    pair = {"prediction": box((8, 8, 8), (2, 2, 2), (3, 3, 3)), "reference": box((8, 8, 8), (2, 2, 2), (3, 3, 3))}
    pair[empty] = np.zeros((8, 8, 8), bool)
    row = metrics(**pair)
    assert [row[k] for k in ("dice", "iou", "precision", "recall", "nsd")] == [0.0] * 5
    assert [row[k] for k in ("hd_mm", "hd95_mm", "assd_mm")] == [math.inf] * 3
    assert row["missed"] is True


def test_structures_may_be_one_label_value_or_several_together():
    reference = np.zeros((12, 12, 12), np.int16)
    reference[2:6], reference[6:8] = 1, 4
    prediction = reference.copy()
    prediction[prediction == 4] = 1
    labels = {"core": 4, "edema": 1, "whole": [1, 4]}
    core, edema, whole = case_metrics(prediction, reference, spacing=(1, 1, 1), labels=labels)
    assert (core["structure"], core["dice"], core["missed"]) == ("core", 0.0, True)
    assert edema["dice"] == pytest.approx(2 * 4 / (6 + 4))
    assert (whole["dice"], whole["hd_mm"]) == (1.0, 0.0)


def test_tensors_and_arrays_give_the_same_row():
    prediction, reference = (m.astype(np.uint8) for m in blobs(0))
    tensors = torch.from_numpy(prediction), torch.from_numpy(reference).float()
    kwargs = {"spacing": ANISOTROPIC, "labels": {"organ": 1}}
    assert case_metrics(*tensors, **kwargs) == case_metrics(prediction, reference, **kwargs)


def test_probabilities_are_refused():
    with pytest.raises(TypeError, match="prediction holds fractions"):
        case_metrics(np.full((2, 2, 2), 0.4), np.ones((2, 2, 2)), spacing=(1, 1, 1), labels={"organ": 1})


@pytest.mark.parametrize("other", [(4, 4, 5), (1, 4, 4, 4)])
def test_arrays_of_different_shapes_are_refused(other):
    with pytest.raises(ValueError, match="one shape"):
        case_metrics(np.zeros((4, 4, 4)), np.zeros(other), spacing=(1, 1, 1), labels={"organ": 1})


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, 1, math.nan)])
def test_a_spacing_that_is_no_voxel_size_is_refused(spacing):
    with pytest.raises(ValueError, match="spacing"):
        case_metrics(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), spacing=spacing, labels={"organ": 1})


@pytest.mark.slow
@pytest.mark.parametrize(("center", "radii"), [((100, 256, 256), (60, 120, 140)), ((100, 256, 256), (90, 240, 180))])
def test_an_organ_and_a_whole_body_in_512_x_512_x_200_voxels_are_as_far_apart_as_they_were_shifted(center, radii):
    spacing = (2.5, 0.8, 0.8)
    prediction = ellipsoid((200, 512, 512), center, radii).astype(np.uint8)
    reference = ellipsoid((200, 512, 512), [c + 3 for c in center], radii).astype(np.uint8)
    (row,) = case_metrics(prediction, reference, spacing=spacing, labels={"liver": 1})
    # the Hausdorff distance of a convex body from itself, shifted, is the length of the shift
    assert row["hd_mm"] == pytest.approx(3 * math.hypot(*spacing), abs=math.hypot(*spacing) / 2)
    assert row["volume_reference_mm3"] == pytest.approx(
        4 / 3 * math.pi * math.prod(radii) * math.prod(spacing), rel=1e-3
    )


def test_the_relative_volume_difference_is_a_share_of_the_reference():
    prediction, reference = box((9, 9, 9), (1, 1, 1), (3, 5, 5)), box((9, 9, 9), (1, 1, 1), (4, 5, 5))
    row = metrics(prediction, reference, spacing=ANISOTROPIC)
    assert row["relative_volume_difference"] == pytest.approx(-0.25)
    assert row["voe"] == pytest.approx(1 - 3 / 4)


def test_beside_an_empty_reference_the_relative_difference_is_infinite():
    empty, full = np.zeros((8, 8, 8), bool), np.ones((8, 8, 8), bool)
    assert metrics(full, empty)["relative_volume_difference"] == math.inf
    assert metrics(empty, full)["relative_volume_difference"] == -1.0
    assert (metrics(empty, empty)["relative_volume_difference"], metrics(empty, empty)["voe"]) == (0.0, 0.0)


def test_voxels_are_counted_for_pooling():
    row = metrics(box((9, 9, 9), (1, 1, 1), (3, 5, 5)), box((9, 9, 9), (2, 1, 1), (4, 5, 5)))
    assert [row[f"voxels_{name}"] for name in ("prediction", "reference", "both")] == [75, 100, 50]
