"""The components that a predicted organ is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import generate_binary_structure, label

from common.transforms import ComponentFilterd

SPACING = (2.5, 0.8, 0.8)  # mm; a voxel has 1.6 mm³
LIVER, KIDNEY, SPLEEN, PANCREAS = range(4)


def filtered(masks: torch.Tensor, spacing: tuple[float, ...] = SPACING, meta: dict | None = None, **options: object):
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    data = {"image": MetaTensor(torch.zeros(1, *masks.shape[1:]), affine=affine), "pred": MetaTensor(masks, meta=meta)}
    return ComponentFilterd("pred", **options)(data)["pred"]


def masks(*cuboids: tuple[int, tuple[slice, ...]], shape: tuple[int, ...] = (20, 24, 30)) -> torch.Tensor:
    volume = torch.zeros(4, *shape, dtype=torch.bool)
    for organ, place in cuboids:
        volume[(organ, *place)] = True
    return volume


def cube(start: int, depth: int, side: int = 5) -> tuple[slice, ...]:
    """``depth`` x 5 x 5 voxels along the diagonal."""
    return slice(0, depth), slice(0, side), slice(start, start + side)


def test_one_liver_two_kidneys_one_spleen_and_one_pancreas_are_kept_the_largest():
    places = [cube(0, 5), cube(8, 6), cube(16, 7)]  # 125, 150 and 175 voxels
    for organ, kept in [(LIVER, [2]), (KIDNEY, [1, 2]), (SPLEEN, [2]), (PANCREAS, [2])]:
        labels = filtered(masks(*((organ, place) for place in places)), min_size=100)
        for number, place in enumerate(places):
            expected = organ + 1 if number in kept else 0
            assert (labels[(0, *place)] == expected).all(), (organ, number)


def test_a_component_must_be_larger_than_the_minimum_not_as_large():
    just = masks((SPLEEN, cube(0, 5)))  # 125 voxels of 2 mm³
    assert filtered(just, (2.0, 1.0, 1.0), min_size=250.0).sum() == 0
    assert (filtered(just, (2.0, 1.0, 1.0), min_size=249.9) == 3).sum() == 125


def test_voxels_that_meet_at_a_corner_are_one_component():
    mask = masks()
    mask[LIVER, 1:4, 1:4, 1:4] = mask[LIVER, 4:7, 4:7, 4:7] = True
    assert (filtered(mask, min_size=0) == 1).sum() == 54


def test_of_components_of_one_size_the_first_is_kept():
    labels = filtered(masks((LIVER, cube(0, 5)), (LIVER, cube(10, 5))), min_size=0)
    assert (labels[(0, *cube(0, 5))] == 1).all()
    assert (labels[(0, *cube(10, 5))] == 0).all()


def test_where_organs_overlap_the_later_label_counts():
    labels = filtered(masks((LIVER, cube(0, 9, 9)), (KIDNEY, cube(3, 4)), (PANCREAS, cube(5, 4))), min_size=0)
    line = labels[0, 0, 0, :11].tolist()
    assert line == [1, 1, 1, 2, 2, 4, 4, 4, 4, 4, 0]


def test_organs_that_are_not_there_stay_away():
    assert filtered(masks(), min_size=0).sum() == 0


def test_random_masks_give_what_scipys_components_give():
    mask = torch.rand(4, 20, 24, 30) > 0.93
    labels = filtered(mask, min_size=12 * np.prod(SPACING))[0].numpy()
    expected = np.zeros(mask.shape[1:], np.uint8)
    for organ, count in enumerate((1, 2, 1, 1)):
        numbers, _ = label(mask[organ].numpy(), generate_binary_structure(3, 3))
        sizes = np.bincount(numbers.ravel())[1:]
        for number in sorted(range(len(sizes)), key=lambda n: (-sizes[n], n))[:count]:
            if sizes[number] > 12:
                expected[numbers == number + 1] = organ + 1
    assert expected.any()
    np.testing.assert_array_equal(labels, expected)


def test_labels_are_bytes_with_the_images_affine():
    labels = filtered(masks((LIVER, cube(0, 5))))
    assert labels.dtype == torch.uint8
    assert labels.shape == (1, 20, 24, 30)
    assert torch.diag(labels.affine).tolist() == pytest.approx([*SPACING, 1.0])


def test_upstreams_minimum_shrinks_with_the_crop():
    """The specification's example: a crop of 60 x 340 x 400 has 1.153 times the voxels of 192³, 2000 become 1735."""
    meta = {"box": torch.tensor([[5, 10, 0], [65, 350, 400]])}
    shape = (70, 352, 400)
    small, large = (slice(0, 12), slice(0, 9), slice(0, 10)), (slice(20, 32), slice(0, 10), slice(0, 10))
    mask = masks((KIDNEY, small), (KIDNEY, large), shape=shape)  # 1728 and 1920 mm³ at 1.6 mm³
    upstream = filtered(mask, meta=meta, min_size_unit="upstream")
    assert (upstream[(0, *small)] == 0).all()
    assert (upstream[(0, *large)] == 2).all()
    assert filtered(mask, meta=meta).sum() == 0


def test_probabilities_are_refused():
    with pytest.raises(ValueError, match="pred: expected boolean masks, got torch"):
        filtered(torch.rand(4, 5, 5, 5))


def test_another_number_of_organs_is_refused():
    with pytest.raises(ValueError, match=r"expected 4 organs .* got 3 channels"):
        filtered(torch.ones(3, 5, 5, 5, dtype=torch.bool))


def test_another_unit_is_refused():
    with pytest.raises(ValueError, match="min_size_unit must be one of"):
        ComponentFilterd("pred", min_size_unit="voxels")
