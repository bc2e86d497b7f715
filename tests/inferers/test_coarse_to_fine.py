"""Two networks as one inferer: what lies in the window, and what lies around it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.transforms import NormalizeIntensity
from torch import Tensor, nn

from common.inferers import CoarseToFineInferer
from common.transforms import Box
from common.transforms.coarse_grid import spacing_of

BOX = Box((4, 6, 2), (8, 10, 8))


class Classes(nn.Module):
    """The input, once per class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.classes, 1, 1, 1)


def test_logits_of_the_window_lie_where_the_window_was():
    volume = torch.rand(1, 1, 16, 20, 12)
    logits = CoarseToFineInferer(lambda _: BOX)(volume, nn.Identity())
    expected = torch.full_like(volume, -30.0)
    expected[:, :, 4:8, 6:10, 2:8] = volume[:, :, 4:8, 6:10, 2:8]
    assert torch.equal(logits, expected)


def test_every_volume_of_a_batch_has_its_own_window():
    volumes = torch.zeros(2, 1, 12, 12, 12)
    volumes[0, 0, 3, 4, 5] = volumes[1, 0, 9, 8, 7] = 1

    def brightest(volume: Tensor) -> Box:
        index = np.unravel_index(int(volume[0].argmax()), volume.shape[1:])
        return Box(tuple(int(i) for i in index), tuple(int(i) + 1 for i in index))

    logits = CoarseToFineInferer(brightest)(volumes, nn.Identity())
    assert torch.nonzero(logits > -30).tolist() == [[0, 0, 3, 4, 5], [1, 0, 9, 8, 7]]


def test_outside_the_window_the_background_channel_wins():
    inferer = CoarseToFineInferer(lambda _: BOX, background_channel=0)
    probabilities = inferer(torch.rand(1, 1, 16, 20, 12), Classes(3)).softmax(1)
    assert probabilities[0, :, 0, 0, 0].tolist() == pytest.approx([1, 0, 0])


def test_outside_the_window_no_channel_is_foreground_where_none_is_background():
    probabilities = CoarseToFineInferer(lambda _: BOX)(torch.rand(1, 1, 16, 20, 12), Classes(4)).sigmoid()
    assert probabilities[0, :, 0, 0, 0].tolist() == pytest.approx([0, 0, 0, 0])


def test_masks_stay_masks_and_are_false_outside_the_window():
    volume = torch.ones(1, 1, 16, 20, 12)
    masks = CoarseToFineInferer(lambda _: BOX, inferer=lambda x, network: network(x) > 0)(volume, Classes(2))
    assert masks.dtype == torch.bool
    inside = torch.nonzero(masks[0, 1])
    assert (tuple(inside.amin(0).tolist()), tuple((inside.amax(0) + 1).tolist())) == (BOX.start, BOX.stop)
    assert masks.sum() == 2 * 4 * 4 * 6


def test_crop_alone_is_normalized():
    volume = torch.full((1, 1, 16, 20, 12), 1000.0)
    volume[:, :, 4:8, 6:10, 2:8] = torch.randn(4, 4, 6) * 5 + 40
    crop = CoarseToFineInferer(lambda _: BOX, normalize=NormalizeIntensity())(volume, nn.Identity())[
        0, 0, 4:8, 6:10, 2:8
    ]
    assert (float(crop.mean()), float(crop.std(correction=0))) == pytest.approx((0, 1), abs=1e-5)


def test_without_a_locator_the_whole_volume_is_segmented():
    volume = torch.rand(1, 1, 9, 10, 11)
    assert torch.equal(CoarseToFineInferer(size=(4, 4, 4))(volume, nn.Identity()), volume)


def test_window_is_in_the_middle_and_the_log_says_so_where_nothing_is_found(caplog):
    with caplog.at_level(logging.WARNING):
        logits = CoarseToFineInferer(lambda _: None, size=(4, 4, 4))(torch.ones(1, 1, 12, 12, 12), nn.Identity())
    assert torch.nonzero(logits[0, 0] > 0).aminmax(dim=0).min.tolist() == [4, 4, 4]
    assert "found nothing" in caplog.text


def test_whole_volume_is_segmented_and_the_log_names_the_case_where_nothing_is_found(caplog):
    volume = MetaTensor(torch.rand(1, 6, 7, 8), meta={"filename_or_obj": "/data/train_007_0000.nii.gz"})
    batch = next(iter(DataLoader(Dataset([{"image": volume}]), batch_size=1)))["image"]
    with caplog.at_level(logging.WARNING):
        logits = CoarseToFineInferer(lambda _: None)(batch, nn.Identity())
    assert torch.equal(logits.as_tensor(), batch.as_tensor())
    assert "train_007_0000.nii.gz: the locator found nothing: the box is all of the volume" in caplog.text


def test_answer_says_where_the_window_of_each_volume_was():
    data = [{"image": MetaTensor(torch.zeros(1, 16, 20, 12))} for _ in range(2)]
    boxes = [BOX, Box((0, 1, 2), (3, 4, 5))]
    batch = next(iter(DataLoader(Dataset(data), batch_size=2)))
    found = iter(boxes)
    answer = CoarseToFineInferer(lambda _: next(found))(batch["image"], nn.Identity())
    items = decollate_batch(answer)
    assert [item.meta["box"].tolist() for item in items] == [[list(box.start), list(box.stop)] for box in boxes]


def test_low_memory_changes_no_result_and_leaves_cuda_alone_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("there is no CUDA"))
    volume = torch.rand(1, 1, 16, 20, 12)
    plain, low = (
        CoarseToFineInferer(lambda _: BOX, low_memory=low_memory, device="cpu")(volume, nn.Identity())
        for low_memory in (False, True)
    )
    assert torch.equal(low, plain)


def test_a_low_memory_switch_that_is_no_boolean_is_an_error():
    with pytest.raises(ValueError, match="low_memory must be True or False"):
        CoarseToFineInferer(low_memory="true")


def test_window_smaller_than_the_patch_is_padded_for_the_network_and_cut_back():
    volume = torch.rand(1, 1, 16, 20, 12)
    inferer = CoarseToFineInferer(lambda _: BOX, inferer=SlidingWindowInferer(roi_size=(16, 16, 16)))
    torch.testing.assert_close(inferer(volume, nn.Identity())[..., 4:8, 6:10, 2:8], volume[..., 4:8, 6:10, 2:8])


def test_locator_sees_the_voxel_size_of_a_volume_that_comes_from_a_loader():
    affine = torch.diag(torch.tensor([3.0, 0.7, 0.9, 1.0], dtype=torch.float64))
    data = [{"image": MetaTensor(torch.rand(1, 8, 8, 8), affine=affine)}]
    batch = next(iter(DataLoader(Dataset(data), batch_size=1)))
    seen = []
    CoarseToFineInferer(lambda volume: seen.append(spacing_of(volume)))(batch["image"], nn.Identity())
    assert seen == [pytest.approx((3.0, 0.7, 0.9))]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_an_error_and_not_background(value):
    volume = torch.zeros(1, 1, 8, 8, 8)
    volume[0, 0, 4, 4, 4] = value
    with pytest.raises(ValueError, match="not finite"):
        CoarseToFineInferer()(volume, nn.Identity())
