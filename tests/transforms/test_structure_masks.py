"""Label maps to a network's channels and back, by hand."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from common.transforms import ChannelsOfLabeld, LabelOfChannelsd, StructureMasksd

LABEL = torch.tensor([0, 1, 2, 4, 9]).view(1, 5, 1, 1)


def test_a_channel_is_where_the_label_has_one_of_its_values_and_255_where_nobody_labeled() -> None:
    out = ChannelsOfLabeld("label", values=[[1, 2, 4], [4]], ignore=9)({"label": LABEL})["label"]
    assert out.shape == (2, 5, 1, 1)
    assert out.flatten(1).tolist() == [[0, 1, 1, 1, 255], [0, 0, 0, 1, 255]]


def test_classes_become_masks_without_the_background() -> None:
    logits = torch.tensor([[3.0, 0, 0, 0], [0, 2, 0, 9], [0, 0, 1, 0]])
    target = torch.tensor([[1, 0, 1, 255], [0, 1, 0, 255], [0, 0, 0, 255]])
    out = StructureMasksd(output="softmax")({"pred": logits, "label": target})
    assert out["pred"].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert out["label"].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_regions_become_a_mask_each() -> None:
    out = StructureMasksd(output="sigmoid")(
        {"pred": torch.tensor([[1.0, -1, 2]]), "label": torch.tensor([[1, 1, 255]])}
    )
    assert out["pred"].tolist() == [[1, 0, 0]] and out["label"].tolist() == [[1, 1, 0]]


def test_the_largest_logits_class_is_written_with_its_value_in_its_place() -> None:
    affine = torch.diag(torch.tensor([2.0, 1, 3, 1]))
    logits = MetaTensor(torch.eye(3).view(3, 3, 1, 1), affine=affine)
    out = LabelOfChannelsd("pred", output="softmax", values=[0, 5, 200])({"pred": logits})["pred"]
    assert out.flatten().tolist() == [0, 5, 200] and out.dtype == torch.uint8
    assert torch.equal(out.affine, affine.double())


def test_regions_are_painted_in_order_and_come_back_as_they_were() -> None:
    values = [[1, 2, 3], [2, 3], [3]]
    label = torch.tensor([0, 1, 2, 3]).view(1, 4, 1, 1)
    channels = ChannelsOfLabeld("label", values=values)({"label": label})["label"].float() - 0.5
    out = LabelOfChannelsd("pred", output="sigmoid", values=[1, 2, 3])({"pred": channels})["pred"]
    assert out.flatten().tolist() == [0, 1, 2, 3]


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pred: 2 channels, expected 3: \[0, 1, 2\]"):
        LabelOfChannelsd("pred", output="softmax", values=[0, 1, 2])({"pred": torch.zeros(2, 1, 1, 1)})
